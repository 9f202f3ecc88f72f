"""What several models are made of: token readers and writers, masks, dropout."""
