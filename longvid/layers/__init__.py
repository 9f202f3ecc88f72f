"""Parts that several models share: token layers, masks, dropout."""
