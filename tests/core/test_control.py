"""Tests for `perfmon.core.control`."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.control import ORDERS, Absence, Order, checked_interval, orders_of

_ABSENCES = st.builds(Absence, st.floats(0, 1e11), st.text(max_size=200))
_ORDERS = st.builds(Order, st.booleans(), st.none() | st.floats(0.1, 86_400), st.none() | _ABSENCES)


class OrderTests(SynchronousTestCase):
    @given(st.dictionaries(st.from_regex(r"[a-z@:+.]{1,9}", fullmatch=True), _ORDERS))
    def test_fields(self, orders: dict[str, Order]) -> None:
        """Orders are read from their fields, whatever hosts are called; nothing ordered is no field."""
        fields = {}
        for host, order in orders.items():
            values = ("1" if order.stopped else "", order.interval, order.absence)
            for what, value in zip(ORDERS, values, strict=True):
                if value:
                    fields[f"{host} {what}"] = str(value)
        self.assertEqual(orders_of(fields), {host: order for host, order in orders.items() if order != Order()})

    def test_other_fields(self) -> None:
        """What a later version has added is left alone."""
        self.assertEqual(orders_of({"web1 colour": "red", "web1 stopped": "1"}), {"web1": Order(stopped=True)})

    def test_bad_interval(self) -> None:
        """An interval that no host may have is not wanted; what else is wanted of the host is."""
        for bad in ("", "soon", "nan", "inf", "0", "-1", "86401"):
            orders = orders_of({"web1 interval": bad, "web1 stopped": "1", "web2 interval": "5"})
            self.assertEqual(orders, {"web1": Order(stopped=True), "web2": Order(interval=5.0)}, bad)

    def test_bad_absence(self) -> None:
        """An absence without an end that can be read is none."""
        for bad in ("", "soon", " reason"):
            self.assertEqual(orders_of({"web1 absence": bad, "web1 stopped": "1"}), {"web1": Order(stopped=True)}, bad)

    def test_interval(self) -> None:
        for good in (0.1, 5.0, 86_400.0):
            self.assertEqual(checked_interval(good), good)
        for bad in (0.0, 0.09, -1.0, 86_401.0, float("inf"), float("nan")):
            self.assertRaises(ValueError, checked_interval, bad)
