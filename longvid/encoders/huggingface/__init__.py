"""Any Hugging Face image or video model as an encoder, from its hub id or a local folder."""

from longvid.encoders.huggingface.build import build_huggingface

__all__ = ["build_huggingface"]
