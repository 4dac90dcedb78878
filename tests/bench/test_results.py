"""From rounds to ratios and verdicts, and how they are told."""

from __future__ import annotations

import argparse
import io
import json
import sys
from functools import partial
from pathlib import Path
from typing import NoReturn, cast

from twisted.trial.unittest import SynchronousTestCase

from bench import report
from bench.__main__ import (
    EXIT_FAILED,
    EXIT_FELL,
    EXIT_MISSED,
    EXIT_UNMEASURED,
    exit_status,
    find_effort,
    find_names,
    find_subjects,
    parser,
    run,
)
from bench.catalogue import LINES, SMOKE, WORKLOADS, named
from bench.certificates import Certificates
from bench.errors import BenchError, NotMeasuredError
from bench.expectations import (
    Bound,
    Expectation,
    Written,
    load_expectations,
    write_expected,
)
from bench.lab import Effort, Lab, Sample, Series, child_environment, interleaved
from bench.results import Result, Verdict, evaluate, gated, written
from bench.subjects import Hooks, Mode, Setup, squid_configuration

WORKLOAD = WORKLOADS["keepalive-1k-hooks"]
FILES = Certificates(Path("/w/ca.pem"), Path("/w/chain.pem"), Path("/w/key.pem"))
EXPECTED = Expectation((Bound("ratio", at_least=0.4, aim=0.5, tolerance=0.1),))
WRITTEN = Expectation(expected=Written(ratio=0.5, cpu_ratio=0.4))
EXPECTATIONS = {WORKLOAD.name: WRITTEN}


def series(*rates: float, cpu: float = 50.0, problem: str | None = None) -> Series:
    """Build rounds with these rates, all at ``cpu`` µs per request."""
    problems = () if problem is None else (problem,)
    values = [{"requests_per_second": rate, "cpu_us_per_request": cpu} for rate in rates]
    return Series([Sample(value, problems) for value in values])


class InterleavedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.taken: list[str] = []

    def take(self, name: str) -> Sample:
        self.taken.append(name)
        return Sample({"n": len(self.taken)})

    def fail_to(self, name: str) -> Sample:
        self.taken.append(name)
        raise BenchError("out of order")

    def test_subjects_take_turns_and_the_warm_up_is_left_out(self) -> None:
        found = interleaved(2, True, {name: partial(self.take, name) for name in "ab"})
        self.assertEqual("".join(self.taken), "ababab")
        self.assertEqual([sample.values["n"] for sample in found["a"].samples], [3, 5])

    def test_a_subject_that_fails_is_not_asked_again(self) -> None:
        found = interleaved(
            2, False, {"a": partial(self.fail_to, "a"), "b": partial(self.take, "b")}
        )
        self.assertEqual("".join(self.taken), "abb")
        self.assertEqual(found["a"].problems, ("out of order",))
        self.assertEqual(len(found["b"].samples), 2)


class EvaluateTests(SynchronousTestCase):
    def evaluate(
        self, relay: Series, interceptor: Series, smoke: bool = False, **more: Series
    ) -> Result:
        found = {"relay": relay, "interceptor": interceptor, **more}
        return evaluate(WORKLOAD, found, EXPECTED, smoke)

    def test_the_ratio_is_taken_round_by_round(self) -> None:
        # The machine was slower in the second round: for both of them.
        result = self.evaluate(series(100, 10, 100), series(50, 5, 40))
        self.assertEqual(result.figures["interceptor"].ratio, 0.5)
        self.assertEqual(result.figures["relay"].ratio, 1.0)

    def test_the_cpu_ratio_is_work_for_cpu_time(self) -> None:
        result = self.evaluate(series(100, cpu=50.0), series(100, cpu=125.0))
        self.assertEqual(result.figures["interceptor"].cpu_ratio, 0.4)

    def test_within_tolerance_passes_and_below_misses(self) -> None:
        self.assertIs(self.evaluate(series(100), series(37)).verdict, Verdict.PASS)
        self.assertIs(self.evaluate(series(100), series(35)).verdict, Verdict.MISS)

    def test_a_baseline_without_its_core_is_not_taken_at_its_rate(self) -> None:
        relay = Series(
            [Sample({"requests_per_second": 60.0, "cpu_us_per_request": 30.0, "busy": 0.6})]
        )
        # Half of the rate, but thrice the CPU time: 0.33 is what a free machine would show.
        result = self.evaluate(relay, series(30, cpu=90.0))
        self.assertIs(result.verdict, Verdict.MISS)
        self.assertIn("CPU ratio", result.reasons[0])

    def test_errors_of_any_subject_fail_the_workload(self) -> None:
        result = self.evaluate(series(100), series(90), squid=series(70, problem="1 read errors"))
        self.assertIs(result.verdict, Verdict.FAILED)
        self.assertEqual(result.reasons, ("squid: 1 read errors",))

    def test_a_subject_that_did_not_start_fails_the_workload(self) -> None:
        result = self.evaluate(series(100), Series(failure="no `listening:` line"))
        self.assertIs(result.verdict, Verdict.FAILED)
        self.assertIsNone(result.figures["interceptor"].ratio)

    def test_a_smoke_run_judges_only_what_cannot_be(self) -> None:
        self.assertIs(self.evaluate(series(100), series(20), smoke=True).verdict, Verdict.RAN)
        self.assertIs(self.evaluate(series(100), series(900), smoke=True).verdict, Verdict.FAILED)

    def test_without_the_proxy_nothing_is_judged(self) -> None:
        result = evaluate(WORKLOAD, {"relay": series(100)}, EXPECTED, False)
        self.assertIs(result.verdict, Verdict.RAN)

    def test_an_upper_bound(self) -> None:
        found = {"interceptor": Series([Sample({"startup_ms": 500.0})])}
        expected = Expectation((Bound("startup_ms", at_most=400, tolerance=0.1),))
        result = evaluate(WORKLOADS["startup"], found, expected, False)
        self.assertIs(result.verdict, Verdict.MISS)

    def test_a_bound_on_the_difference_is_taken_round_by_round(self) -> None:
        found = {
            "relay": Series([Sample({"p50_us": time}) for time in (100.0, 900.0, 100.0)]),
            "interceptor": Series([Sample({"p50_us": time}) for time in (190.0, 980.0, 190.0)]),
        }
        for most, verdict in ((100, Verdict.PASS), (80, Verdict.MISS)):
            expected = Expectation((Bound("p50_us", at_most=most, minus="relay"),))
            result = evaluate(WORKLOADS["latency-1"], found, expected)
            self.assertIs(result.verdict, verdict)
            self.assertIn("p50_us more than relay 90,", result.reasons[0])

    def test_every_bound_counts_and_is_told(self) -> None:
        bounds = (
            Bound("ratio", at_least=0.4),
            Bound("requests_per_second", at_least=14, over="mitmdump"),
        )
        found = {
            "relay": series(100),
            "interceptor": series(50),
            "mitmdump": series(5),
        }
        result = evaluate(WORKLOAD, found, Expectation(bounds))
        self.assertIs(result.verdict, Verdict.MISS)
        self.assertEqual(len(result.reasons), 2)

    def test_no_other_bound_stands_for_one_about_a_peer_that_takes_no_part(self) -> None:
        peer = Bound("requests_per_second", at_least=14, over="mitmdump")
        for bounds in ((peer,), (Bound("ratio", at_least=0.4), peer)):
            found = {"relay": series(100), "interceptor": series(50)}
            result = evaluate(WORKLOAD, found, Expectation(bounds))
            self.assertIs(result.verdict, Verdict.UNMEASURED)
            self.assertEqual(len(result.reasons), len(bounds))
            self.assertIn("over mitmdump was not measured", result.reasons[-1])
            self.assertEqual(exit_status([result], True), EXIT_UNMEASURED)
            self.assertEqual(exit_status([result], False), 0)
            missed = evaluate(WORKLOAD, found | {"interceptor": series(10)}, Expectation(bounds))
            self.assertIs(missed.verdict, Verdict.MISS if len(bounds) > 1 else Verdict.UNMEASURED)


class FallTests(SynchronousTestCase):
    """Against the ratio that is written down."""

    def evaluate(self, rate: float, cpu: float, smoke: bool = False) -> Result:
        found = {"relay": series(100, cpu=40.0), "interceptor": series(rate, cpu=cpu)}
        return evaluate(WORKLOAD, found, WRITTEN, smoke)

    def test_a_tenth_may_be_noise_and_more_is_not(self) -> None:
        self.assertIs(self.evaluate(46, cpu=100.0).verdict, Verdict.PASS)
        fallen = self.evaluate(44, cpu=100.0)
        self.assertIs(fallen.verdict, Verdict.FELL)
        self.assertIn("fell by more than 10%", fallen.reasons[0])

    def test_a_smoke_run_looks_at_cpu_time_only_and_a_quarter_may_be_noise(self) -> None:
        self.assertIs(self.evaluate(10, cpu=130.0, smoke=True).verdict, Verdict.PASS)
        self.assertIs(self.evaluate(50, cpu=135.0, smoke=True).verdict, Verdict.FELL)

    def test_a_bound_that_is_missed_does_not_hide_it(self) -> None:
        found = {"relay": series(100), "interceptor": series(20)}
        expectation = Expectation(EXPECTED.bounds, WRITTEN.expected)
        result = evaluate(WORKLOAD, found, expectation)
        self.assertEqual((result.verdict, result.fell), (Verdict.MISS, True))
        self.assertEqual(len(result.reasons), 2)

    def test_only_rates_beside_the_relay_are_gated(self) -> None:
        self.assertTrue(gated(WORKLOADS["body-10m-stream"]))
        for name in ("latency-1", "h2-to-h1-1k-hooks", "startup", "workers-cpu"):
            self.assertFalse(gated(WORKLOADS[name]), name)

    def test_what_is_written_is_what_is_judged(self) -> None:
        relay = Sample({"requests_per_second": 60.0, "cpu_us_per_request": 30.0, "busy": 0.6})
        found = {"relay": Series([relay]), "interceptor": series(30, cpu=90.0)}
        self.assertEqual(written(evaluate(WORKLOAD, found)), Written(1 / 3, 1 / 3))
        self.assertIsNone(written(evaluate(WORKLOAD, {"interceptor": series(30)})))

    def test_a_smoke_run_tries_three_times(self) -> None:
        tries: list[float] = []

        def take(*_: object) -> dict[str, Series]:
            tries.append(costs.pop(0))
            return {"relay": series(100, cpu=40.0), "interceptor": series(50, cpu=tries[-1])}

        self.patch(type(WORKLOAD), "run", take)
        self.patch(sys, "stdout", io.StringIO())
        subjects = find_subjects([], None)
        for given, count, fell in (
            ([200.0, 100.0, 200.0], 2, False),
            ([200.0, 200.0, 200.0, 100.0], 3, True),
        ):
            tries.clear()
            costs = list(given)
            (result,) = run(cast(Lab, None), subjects, [WORKLOAD.name], EXPECTATIONS, True)
            self.assertEqual((len(tries), result.fell), (count, fell))


class ExpectationTests(SynchronousTestCase):
    def test_every_entry_is_about_a_workload(self) -> None:
        self.assertEqual(set(load_expectations()) - set(WORKLOADS), set())

    def test_metrics_are_those_of_the_workloads(self) -> None:
        for name, expectation in load_expectations().items():
            metric = WORKLOADS[name].metric
            wanted = "ratio" if metric in ("requests_per_second", "mib_per_second") else metric
            found = [bound.metric for bound in expectation.bounds if bound.other is None]
            self.assertLessEqual(set(found), {wanted}, name)

    def test_every_line_has_a_bound_on_each_of_its_workloads(self) -> None:
        expectations = load_expectations()
        for line, names in LINES.items():
            for name in names:
                self.assertIn(name, WORKLOADS)
                self.assertTrue(expectations[name].bounds, f"{line}: {name}")

    def test_one_side_of_a_bound_is_needed(self) -> None:
        self.assertRaises(BenchError, Bound, "ratio")
        self.assertRaises(BenchError, Bound, "ratio", at_least=1, at_most=2)
        self.assertRaises(BenchError, Bound, "ratio", at_least=1, minus="a", over="b")

    def test_what_was_measured_is_written_beside_the_bounds(self) -> None:
        path = Path(self.mktemp())
        path.write_text('{"a": {"bounds": [{"metric": "ratio", "at_least": 0.4}]}, "b": {}}')
        write_expected({"a": Written(0.51234, 0.5), "c": Written(1.0, 0.9)}, path)
        found = load_expectations(path)
        self.assertEqual(found["a"].bounds, (Bound("ratio", at_least=0.4),))
        self.assertEqual(found["a"].expected, Written(0.512, 0.5))
        self.assertEqual(found["c"], Expectation(expected=Written(1.0, 0.9)))
        before = path.read_text()
        write_expected({}, path)
        self.assertEqual(path.read_text(), before)

    def test_an_unknown_field_is_named(self) -> None:
        path = Path(self.mktemp())
        path.write_text('{"startup": {"bounds": [{"metric": "startup_ms", "below": 1}]}}')
        error = self.assertRaises(BenchError, load_expectations, path)
        self.assertIn("startup", str(error))
        self.assertIn("below", str(error))


class ReportTests(SynchronousTestCase):
    def setUp(self) -> None:
        found = {"relay": series(23_000, 23_200), "interceptor": series(10_000, 9_800)}
        self.result = evaluate(WORKLOAD, found, EXPECTED, False)

    def test_the_table_has_a_row_for_each_subject_and_the_verdict(self) -> None:
        text = report.table(self.result)
        title, head, relay, interceptor, verdict, reason = text.splitlines()
        self.assertTrue(title.startswith("keepalive-1k-hooks: "))
        self.assertEqual(len(head), len(relay))
        self.assertIn("23,000-23,200", relay)
        self.assertIn("0.429", interceptor)
        self.assertEqual(verdict, "  PASS")
        self.assertTrue(reason.startswith("    interceptor: ratio 0.429"))

    def test_columns_that_nothing_was_measured_for_are_left_out(self) -> None:
        self.assertNotIn("RSS", report.table(self.result))
        self.assertNotIn("CPU µs/MiB", report.table(self.result))

    def test_a_core_that_was_not_used_up_is_remarked(self) -> None:
        found = {"relay": Series([Sample({"requests_per_second": 10.0, "busy": 0.5})])}
        text = report.table(evaluate(WORKLOAD, found))
        self.assertIn("whole core: relay", text)

    def test_the_summary_counts_verdicts(self) -> None:
        last = report.summary([self.result]).splitlines()[-1]
        self.assertEqual(last, "1 PASS, 0 MISS, 0 FELL, 0 NOT MEASURED, 0 RAN, 0 FAILED")

    def test_the_summary_has_the_lines_of_which_all_was_measured(self) -> None:
        other = Result(WORKLOADS["keepalive-1k"], {}, Verdict.UNMEASURED, ("no core",))
        self.assertNotIn("line keepalive", report.summary([self.result]))
        text = report.summary([self.result, other])
        self.assertIn("NOT MEASURED  line keepalive ", text)

    def test_what_could_not_be_measured_has_no_table(self) -> None:
        text = report.table(Result(WORKLOAD, {}, Verdict.UNMEASURED, ("no core",)))
        self.assertEqual(text.splitlines()[1:], ["  NOT MEASURED", "    no core"])

    def test_json_has_every_round(self) -> None:
        path = Path(self.mktemp()) / "results" / "run.json"
        report.write_json(path, {"smoke": False}, [self.result])
        written = json.loads(path.read_text())
        subject = written["workloads"]["keepalive-1k-hooks"]["subjects"]["interceptor"]
        self.assertEqual([r["requests_per_second"] for r in subject["rounds"]], [10_000, 9_800])
        self.assertEqual(written["run"], {"smoke": False})


class CommandLineTests(SynchronousTestCase):
    def parse(self, *arguments: str) -> argparse.Namespace:
        return parser().parse_args(arguments)

    def test_smoke_is_short_and_options_override_it(self) -> None:
        self.assertEqual(find_effort(self.parse("--smoke")), Effort.smoke())
        self.assertEqual(find_effort(self.parse("--smoke", "--rounds", "3")).rounds, 3)
        self.assertEqual(find_effort(self.parse()), Effort())

    def test_an_unknown_peer_or_subject_is_an_error(self) -> None:
        self.assertRaises(BenchError, find_subjects, ["goproxy"], None)
        self.assertRaises(BenchError, find_subjects, ["squid=/nowhere/squid"], None)
        self.assertRaises(BenchError, find_subjects, [], ["squid"])

    def test_subjects_can_be_left_out(self) -> None:
        self.assertEqual([s.name for s in find_subjects([], None)], ["relay", "interceptor"])
        self.assertEqual([s.name for s in find_subjects([], ["relay"])], ["relay"])

    def test_exit_status(self) -> None:
        def status(*verdicts: Verdict, check: bool = True) -> int:
            return exit_status([Result(WORKLOAD, {}, verdict) for verdict in verdicts], check)

        self.assertEqual(status(Verdict.PASS, Verdict.RAN), 0)
        self.assertEqual(status(Verdict.PASS, Verdict.MISS), EXIT_MISSED)
        self.assertEqual(status(Verdict.MISS, check=False), 0)
        self.assertEqual(status(Verdict.MISS, Verdict.FAILED), EXIT_FAILED)
        self.assertEqual(status(Verdict.PASS, Verdict.UNMEASURED), EXIT_UNMEASURED)
        self.assertEqual(status(Verdict.UNMEASURED, check=False), 0)
        self.assertEqual(status(Verdict.MISS, Verdict.UNMEASURED), EXIT_MISSED)

    def test_a_ratio_that_fell_always_counts(self) -> None:
        for verdict, check, expected in (
            (Verdict.FELL, False, EXIT_FELL),
            (Verdict.MISS, False, EXIT_FELL),
            (Verdict.MISS, True, EXIT_MISSED),
        ):
            self.assertEqual(
                exit_status([Result(WORKLOAD, {}, verdict, fell=True)], check), expected
            )

    def test_a_line_means_its_workloads_each_once(self) -> None:
        names = find_names(self.parse("--only", "newconn-1k", "tls", "newconn"))
        self.assertEqual(names, ["newconn-1k", "tls-keepalive-1k-hooks", "tls-newconn-1k"])
        self.assertEqual(named(["startup"]), ["startup"])

    def test_a_smoke_run_leaves_variants_out_unless_they_are_asked_for(self) -> None:
        self.assertNotIn("socks-10m", find_names(self.parse("--smoke")))
        self.assertEqual(find_names(self.parse("--smoke", "--only", "socks-10m")), ["socks-10m"])
        self.assertLess({name for names in LINES.values() for name in names}, set(SMOKE))

    def test_only_ratios_to_the_relay_are_written_down(self) -> None:
        names = find_names(self.parse("--write-expected"))
        self.assertIn("newconn-1k", names)
        self.assertNotIn("latency-1", names)

    def test_what_cannot_be_measured_here_is_told(self) -> None:
        def run_nothing(*_: object) -> NoReturn:
            raise NotMeasuredError("needs four cores")

        self.patch(type(WORKLOADS["workers-rate"]), "run", run_nothing)
        self.patch(sys, "stdout", io.StringIO())
        subjects = find_subjects([], None)
        (result,) = run(cast(Lab, None), subjects, ["workers-rate"], {}, False)
        self.assertIs(result.verdict, Verdict.UNMEASURED)
        self.assertEqual(result.reasons, ("needs four cores",))


class SetupTests(SynchronousTestCase):
    def test_children_do_not_see_the_users_proxy_settings(self) -> None:
        given = {"PATH": "/bin", "HOME": "/root", "http_proxy": "http://p", "INTERCEPTOR_MODE": "x"}
        given |= {"PYTHONDONTWRITEBYTECODE": "1"}
        self.assertEqual(child_environment(given, Path("/w")), {"PATH": "/bin", "HOME": "/w"})

    def test_hook_scripts_are_there(self) -> None:
        for hooks in (Hooks.ALL, Hooks.STREAM):
            self.assertTrue(Path(hooks.path).is_file())

    def test_squid_forwards_to_the_origin_in_reverse_mode_only(self) -> None:
        for mode, count in ((Mode.REGULAR, 0), (Mode.REVERSE, 1)):
            setup = Setup(mode, Hooks.NONE, 8000, Path("/w"), {}, FILES)
            self.assertEqual(squid_configuration(setup, 3128).count("cache_peer"), count)
