"""Pressure stall information."""

from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.trial.unittest import SynchronousTestCase

from perfmon.probes.pressure import parse_pressure, pressure

_CPU = """\
some avg10=2.50 avg60=0.69 avg300=0.16 total=9796713
full avg10=0.00 avg60=0.00 avg300=0.00 total=0
"""
_IO = """\
some avg10=43.75 avg60=10.29 avg300=2.66 total=27999142
full avg10=42.50 avg60=10.04 avg300=2.60 total=27370888
"""


class ParsePressureTests(SynchronousTestCase):
    def test_io(self) -> None:
        """The total becomes seconds, the share of the last 10 s a fraction, for each kind."""
        self.assertEqual(
            parse_pressure("io", _IO),
            {
                "perfmon.pressure.time;kind=some;resource=io": 27.999142,
                "perfmon.pressure.utilization;kind=some;resource=io": 0.4375,
                "perfmon.pressure.time;kind=full;resource=io": 27.370888,
                "perfmon.pressure.utilization;kind=full;resource=io": 0.425,
            },
        )

    def test_cpu(self) -> None:
        """Full pressure on the CPUs of a whole machine is undefined: the kernel's 0 is not passed on."""
        self.assertEqual(
            parse_pressure("cpu", _CPU),
            {
                "perfmon.pressure.time;kind=some;resource=cpu": 9.796713,
                "perfmon.pressure.utilization;kind=some;resource=cpu": 0.025,
            },
        )

    def test_other_fields(self) -> None:
        """What a later kernel adds is passed over, and what it drops is absent."""
        self.assertEqual(
            parse_pressure("memory", "some avg1=9.99 avg10=50.00\n"),
            {"perfmon.pressure.utilization;kind=some;resource=memory": 0.5},
        )
        self.assertEqual(parse_pressure("memory", ""), {})

    def test_no_noise(self) -> None:
        """Each of the kernel's two digits after the point becomes one of a fraction, and no more come along."""
        for percent in range(10_001):
            found = parse_pressure("io", f"some avg10={percent // 100}.{percent % 100:02}\n")
            self.assertEqual(found["perfmon.pressure.utilization;kind=some;resource=io"], float(f"{percent}e-4"))

    def test_malformed(self) -> None:
        """Another form of file is an error, not a guess."""
        for text in ("some\n\n", "some 12\n", "some total=many\n"):
            with self.assertRaises(ValueError):
                parse_pressure("io", text)


class PressureTests(SynchronousTestCase):
    def test_files(self) -> None:
        """Each file there is gives its resource; one that is missing or refuses takes nothing from the others."""
        directory = Path(self.enterContext(TemporaryDirectory()))
        (directory / "memory").mkdir()  # exists, but cannot be read
        (directory / "io").write_text(_IO)
        self.assertEqual(pressure(directory), parse_pressure("io", _IO))

    def test_no_pressure(self) -> None:
        """Without any there is nothing, and no error."""
        self.assertEqual(pressure(Path(__file__, "none")), {})

    def test_this_machine(self) -> None:
        """Whatever a real machine tells, a utilization is a fraction."""
        for metric, value in pressure().items():
            self.assertGreaterEqual(value, 0.0, metric)
            if metric.startswith("perfmon.pressure.utilization"):
                self.assertLessEqual(value, 1.0, metric)
