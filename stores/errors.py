"""The errors of feature stores.

    StoreError
    ├── StoreNotFound       there is no store at the location
    ├── NotAFeatureStore    something else is there, or a format that this version does not know
    ├── InvalidLayout       sizes of shards and chunks that no store can have
    ├── RecipeMismatch      the store holds features made in another way
    ├── InvalidKey          a video id that cannot be a key
    ├── VideoNotInStore     no video of that key was ever planned here
    ├── IncompleteVideo     some of the video's shards have not been written yet
    ├── AbsentClips         clips that were left out, because the video's file is damaged where they lie
    ├── SourceChanged       the video was planned from another file, or with other clips
    ├── InvalidTokens       an array that cannot become a shard: wrong shape, not finite, out of the dtype's range
    ├── InvalidWindow       clips or seconds that the video does not have
    ├── DamagedStore        what was read is not what was written
    ├── StoreReadOnly       a write to a store that was opened for reading
    ├── StoreAccessError    the file system or server failed: disk full, no permission, no connection
    └── ConversionError     a folder or file that cannot be imported or exported without loss

Every message is one line and names what is wrong and how to fix it.
"""


class StoreError(Exception):
    """Base of every error a feature store raises on purpose."""


class StoreNotFound(StoreError, FileNotFoundError):
    """There is no store at the location."""


class NotAFeatureStore(StoreError, ValueError):
    """Something else is at the location, or a store of a format this version does not know."""


class InvalidLayout(StoreError, ValueError):
    """Sizes of shards and chunks, or a compression, that no store can have."""


class RecipeMismatch(StoreError, ValueError):
    """The store at the location holds features made in another way."""


class InvalidKey(StoreError, ValueError):
    """A video id that cannot be a key."""


class VideoNotInStore(StoreError, LookupError):
    """No video of that key was ever planned in the store."""


class IncompleteVideo(StoreError, LookupError):
    """Some of the video's shards have not been written yet, so it cannot be read or completed."""


class AbsentClips(StoreError, LookupError):
    """Clips that are not there, because the video's file is damaged where they lie."""


class SourceChanged(StoreError, ValueError):
    """The video was planned from another file, or with other clips, than now."""


class InvalidTokens(StoreError, ValueError):
    """An array that cannot become a shard."""


class InvalidWindow(StoreError, IndexError):
    """Clips or seconds that the video does not have."""


class DamagedStore(StoreError, ValueError):
    """What was read is not what was written."""


class StoreReadOnly(StoreError, PermissionError):
    """A write to a store that was opened for reading."""


class StoreAccessError(StoreError, OSError):
    """The place that holds the store failed: disk full, no permission, no connection."""


class ConversionError(StoreError, ValueError):
    """A folder or file that cannot be imported or exported without loss."""
