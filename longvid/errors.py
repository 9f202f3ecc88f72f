"""The errors that a user's input can cause.

    LongvidError
    ├── VideoError            a file that cannot be read as a video
    │   ├── VideoNotFound         no such file
    │   ├── VideoUnreachable      a place that refuses the file, or fails after all retries
    │   ├── UnreadableVideo       no decoder could open it, or it has no video stream
    │   │   └── DamagedVideo          data in it is lost or broken, at the seconds that the message names
    │   ├── TruncatedVideo        it ends before its header says it does
    │   └── VideoTooShort         it does not last as long as one clip
    ├── BackendUnavailable    a decoder or an optional package that does not run on this machine
    ├── EncoderError          an encoder that does not exist, or cannot do what was asked
    ├── DecoderError          a long-range decoder that does not exist, or cannot do what was asked
    ├── WeightsError          a checkpoint that does not fit, or must not be loaded
    ├── AnnotationError       an annotation or manifest file with a row that cannot be used
    ├── ConfigError           a recipe file or an option with an impossible value
    └── SchedulerLost         a running cluster's scheduler that does not answer any more

Every message is one line and names what is wrong and how to fix it. Errors of stores are in `longvid.stores.errors`.
"""


class LongvidError(Exception):
    """Base of every error that a user's input can cause."""


class VideoError(LongvidError):
    """A file that cannot be read as a video."""


class VideoNotFound(VideoError, FileNotFoundError):
    """No file exists at this path."""


class VideoUnreachable(VideoError, OSError):
    """The place of the file refuses it, or fails after all retries."""


class UnreadableVideo(VideoError, ValueError):
    """No video stream in the file could be decoded."""


class DamagedVideo(UnreadableVideo):
    """Data in the file is lost or broken where a frame was asked for."""


class TruncatedVideo(VideoError, ValueError):
    """The file ends before its header says it does."""


class VideoTooShort(VideoError, ValueError):
    """The video does not last as long as one clip."""


class BackendUnavailable(LongvidError, ImportError):
    """A decoding backend or an optional package does not run on this machine."""


class EncoderError(LongvidError, ValueError):
    """An encoder that does not exist, or an input or option it cannot take."""


class DecoderError(LongvidError, ValueError):
    """A long-range decoder that does not exist, or an input or option it cannot take."""


class WeightsError(LongvidError, ValueError):
    """A checkpoint that does not fit the model, or must not be loaded."""


class AnnotationError(LongvidError, ValueError):
    """An annotation or manifest file with something in it that cannot be used."""


class ConfigError(LongvidError, ValueError):
    """A recipe file or an option with an impossible value."""


class SchedulerLost(LongvidError, ConnectionError):
    """The scheduler of a running cluster does not answer any more."""


def short_reason(error: Exception | str) -> str:
    """The first line of an error's message as a clause, at most 200 characters.

    A last sentence that only announces the lines after it (`Likely causes:`) is left out.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    first = lines[0]
    if first.endswith(":"):
        sentence, stop, _ = first.rpartition(". ")
        first = sentence if stop else first.rstrip(": ")
    return first.rstrip(".")[:200]
