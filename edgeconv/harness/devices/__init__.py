"""Devices other than this machine: an emulated Arm processor, callgrind's processor, an Android device."""

from edgeconv.harness.devices.measure import Order, check, measure
from edgeconv.harness.devices.record import DeviceRecord

__all__ = ["DeviceRecord", "Order", "check", "measure"]
