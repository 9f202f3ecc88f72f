"""What `longvid doctor` says of what does not work."""

import sys
from pathlib import Path

import pytest

from longvid.pipelines.machine.doctor import examine
from longvid.video import backends
from longvid.video.backends.check import BackendStatus


def test_no_advice_announces_causes_that_it_does_not_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = BackendStatus("torchcodec", "0.7", False, "Could not load libtorchcodec. Likely causes:", "pip install it")
    monkeypatch.setattr(backends, "check_all", lambda: [broken])
    (tmp_path / "s3fs.py").write_text("raise OSError('libfoo is missing. Try:\\n  this\\n')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "s3fs", raising=False)
    advice = {check.name: check.advice for check in examine()}
    sys.modules.pop("s3fs", None)
    assert advice["torchcodec (decoder)"] == "Could not load libtorchcodec; pip install it"
    assert advice["s3fs"] == "stores on S3: libfoo is missing"
    assert all(":;" not in line and "dask_cuda" not in name for name, line in advice.items())
