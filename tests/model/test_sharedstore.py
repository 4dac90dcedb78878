"""What workers share, without any worker."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from interceptor.errors import SharedStateError
from interceptor.model.sharedstore import VALUE_LIMIT, SharedStore


class SharedStoreTests(SynchronousTestCase):
    """`SharedStore`."""

    def setUp(self):
        self.now = 100.0
        self.store = SharedStore(lambda: self.now, most_keys=3, most_bytes=100)

    def run_command(self, do: str, key: object = "k", **rest: object) -> Any:
        return self.store.run({"do": do, "key": key, **rest})

    def code(self, do: str, key: object = "k", **rest: object) -> str:
        error = self.assertRaises(SharedStateError, self.run_command, do, key, **rest)
        return str(error.code)

    def test_values_are_kept_replaced_and_forgotten(self):
        self.assertEqual(self.run_command("get"), [])
        self.assertIs(self.run_command("set", value={"a": [1, None]}), True)
        self.assertEqual(self.run_command("get"), [{"a": [1, None]}])
        self.run_command("set", value=None)
        self.assertEqual(self.run_command("get"), [None])
        self.assertIs(self.run_command("delete"), True)
        self.assertIs(self.run_command("delete"), False)
        self.assertEqual(len(self.store), 0)

    def test_nobody_changes_what_others_were_given(self):
        value = [1]
        self.run_command("set", value=value)
        value.append(2)
        first = self.run_command("get")
        first[0].append(3)
        self.assertEqual(self.run_command("get"), [[1]])

    def test_the_first_of_several_keeps_what_is_absent(self):
        self.assertIs(self.run_command("set", value=1, absent=True, expires=5), True)
        self.assertIs(self.run_command("set", value=2, absent=True, expires=5), False)
        self.now += 5
        self.assertIs(self.run_command("set", value=3, absent=True), True)

    def test_values_expire(self):
        self.run_command("set", value=1, expires=5)
        self.run_command("set", "other", value=1)
        self.now += 4.9
        self.assertEqual(self.run_command("get"), [1])
        self.now += 0.1
        self.assertEqual(self.run_command("get"), [])
        self.assertEqual(len(self.store), 1)

    def test_a_value_that_was_replaced_has_its_own_end(self):
        self.run_command("set", value=1, expires=5)
        self.run_command("set", value=2, expires=50)
        self.now += 10
        self.assertEqual(self.run_command("get"), [2])
        self.run_command("set", value=3)
        self.now += 100
        self.assertEqual(self.run_command("get"), [3])

    def test_a_counter_s_time_counts_from_its_first_addition(self):
        self.assertEqual(self.run_command("add", amount=1, expires=60), 1)
        self.now += 59
        self.assertEqual(self.run_command("add", amount=1.5, expires=60), 2.5)
        self.now += 1
        self.assertEqual(self.run_command("add", amount=-1, expires=60), -1)

    def test_only_numbers_are_added_to_numbers(self):
        self.run_command("set", value="text")
        self.assertEqual(self.code("add", amount=1), "shared-invalid")
        self.assertEqual(self.code("add", "n", amount="1"), "shared-invalid")
        self.assertEqual(self.code("add", "n", amount=True), "shared-invalid")
        self.run_command("set", "n", value=1e308)
        self.assertEqual(self.code("add", "n", amount=1e308), "shared-invalid")
        self.assertEqual(self.run_command("get", "n"), [1e308])

    def test_what_cannot_be_kept(self):
        self.assertEqual(self.code("set", value=object()), "shared-invalid")
        self.assertEqual(self.code("set", value="x" * VALUE_LIMIT), "shared-invalid")
        self.assertEqual(self.code("set", "x" * 257, value=1), "shared-invalid")
        self.assertEqual(self.code("set", "", value=1), "shared-invalid")
        self.assertEqual(self.code("set", 7, value=1), "shared-invalid")
        for expires in (0, -1, "5", True, float("nan"), float("inf"), 10**400):
            self.assertEqual(self.code("set", value=1, expires=expires), "shared-invalid")
        self.assertEqual(self.code("steal"), "shared-invalid")

    def test_keys_are_bounded_and_room_comes_back(self):
        for key in "abc":
            self.run_command("set", key, value=1, expires=5)
        self.assertEqual(self.code("set", "d", value=1), "shared-full")
        self.assertEqual(self.code("add", "d", amount=1), "shared-full")
        self.run_command("set", "a", value=2)
        self.now += 5
        self.assertIs(self.run_command("set", "d", value=1), True)

    def test_bytes_are_bounded_and_counted_exactly(self):
        self.run_command("set", "a", value="x" * 80)
        self.assertEqual(self.code("set", "b", value="x" * 80), "shared-full")
        self.run_command("set", "a", value="x")
        self.run_command("set", "b", value="x" * 80)
        self.run_command("delete", "b")
        self.run_command("set", "a", value="x" * 90)

    def test_values_replaced_before_their_time_leave_nothing(self):
        for _ in range(5000):
            self.run_command("set", value=1, expires=1000)
        self.assertLess(len(self.store._ends), 1100)
        self.now += 1000
        self.assertEqual(len(self.store), 0)
