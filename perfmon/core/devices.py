"""Devices whose traffic another one carries too, or that does not leave the host: sums over devices leave them out."""

import re

_INNER_INTERFACE = re.compile(r"lo\d*|veth.*|docker.*|br-.*|virbr.*|cni.*|flannel.*|cali.*|bond.*|.*\.\d+")
_INNER_DISK = re.compile(r"(dm-|md|zram).*")


def is_outer_interface(name: str) -> bool:
    return _INNER_INTERFACE.fullmatch(name) is None


def is_outer_disk(name: str) -> bool:
    return _INNER_DISK.fullmatch(name) is None
