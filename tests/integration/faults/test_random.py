"""Random faults, some at a time: few here, with seeds that are always the same; hundreds with `make test-faults`."""

from concurrent.futures import ThreadPoolExecutor

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.faults.random_stage import play

SEEDS = (1, 2)


class RandomTests(SynchronousTestCase):
    def test_few(self) -> None:
        """Nothing is lost or doubled, and departures are named, those and no others."""
        with ThreadPoolExecutor(len(SEEDS)) as threads:
            played = [threads.submit(play, seed, each=2) for seed in SEEDS]
            for seed, one in zip(SEEDS, played, strict=True):
                stage, verdict = one.result()
                history = "\n".join(sorted(stage.history))
                self.assertEqual(verdict.wrong, [], f"seed {seed}\n{verdict.text()}\n{history}")
                self.assertGreater(verdict.proof.stored, 100)
