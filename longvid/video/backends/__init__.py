"""The backends that decode video, and the choice between them.

Each is checked against what the demux pass measured, so all give the right frames or an error; they differ in speed, in
the files they can read, in the damage they notice, and in rounding (by at most 2 levels of 255 in the mean).
`auto` takes PyAV, and torchcodec only where PyAV has no decoder for the codec: never because PyAV refuses a file, which
it does for damage that the others conceal. decord is used only where it is named.

    pyav        H.264 at 720p, 1 / 2 / 8 frames per second: 0.75 / 0.82 / 0.98 x the CPU time of decoding every frame;
                12 of 12 damaged H.264 files noticed, no wrong frame
    torchcodec  0.99 / 1.09 / 1.42 x; 2 of 12 noticed
    decord      1.56 / 1.60 / 1.83 x; 2 of 12 noticed; always decodes from the first frame on; no AV1

(`longvid bench decode` repeats the ratios.)
"""

from longvid.video.backends.check import BackendStatus, check_all, check_backend
from longvid.video.backends.registry import BACKENDS, Backend, ReadFrames
from longvid.video.backends.resolve import require_backend, resolve_backend

__all__ = [
    "BACKENDS",
    "Backend",
    "BackendStatus",
    "ReadFrames",
    "check_all",
    "check_backend",
    "require_backend",
    "resolve_backend",
]
