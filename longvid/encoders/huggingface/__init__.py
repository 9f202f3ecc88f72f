"""Any Hugging Face image or video model, by hub id or local folder."""

from longvid.encoders.huggingface.build import build_huggingface

__all__ = ["build_huggingface"]
