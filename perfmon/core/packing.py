"""Messages that are packed once and sent to many: each is a part of any gzip stream, whatever came before it.

A gzip stream (RFC 1952) is a header and one deflate stream (RFC 1951). A part that ends at a byte's boundary with an
empty block, and that refers to nothing before itself, can follow any other. What ends the stream is its connection:
there is no checksum, as nobody knows which part is the last.
"""

import zlib

GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"

# A first list of 5,000 hosts takes 4 ms so, in which nothing else is done; at 6 it takes 14 ms and is 10 % smaller.
_LEVEL = 4


def packed(data: bytes) -> bytes:
    """`data` as such a part."""
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH)
