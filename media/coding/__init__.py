"""Codecs of the media engine, each batched over the rows of arrays: one interface (`media.coding.codec`), one file a codec."""
