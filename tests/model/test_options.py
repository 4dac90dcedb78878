"""The registry of options: types, changes, refusals, declarations."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Sequence
from typing import Any, Optional

from twisted.trial.unittest import SynchronousTestCase

from interceptor.errors import OptionsError
from interceptor.model.coreoptions import CORE_OPTIONS, core_options
from interceptor.model.option import Option, Texts
from interceptor.model.options import Options


class Subscriber:
    """Records what it is told, and may refuse."""

    def __init__(self, *watched: str) -> None:
        self.watched = watched
        self.told: list[tuple[set[str], tuple[Any, ...]]] = []
        self.refuses: set[str] = set()

    def __call__(self, options: Options, updated: set[str]) -> None:
        values = tuple(getattr(options, name) for name in self.watched)
        self.told.append((updated, values))
        if self.refuses & updated and any(values):
            self.refuses = set()
            raise OptionsError("refused")


def some_options() -> Options:
    """One option of each type."""
    options = Options()
    options.add_option("flag", bool, False, "")
    options.add_option("count", int, 0, "")
    options.add_option("ratio", float, 0.0, "")
    options.add_option("text", str, "", "")
    options.add_option("amount", "size", 0, "")
    options.add_option("delay", "duration", 0.0, "")
    options.add_option("color", str, "red", "", choices=["red", "green"])
    options.add_option("items_", Sequence[str], (), "")
    options.add_option("limit", "optional size", None, "")
    options.add_option("word", str | None, None, "")
    return options


class ValueTests(SynchronousTestCase):
    """What fits, and what is said of what does not."""

    def setUp(self):
        self.options = some_options()

    def refused(self, **values: object) -> str:
        return str(self.assertRaises(OptionsError, self.options.update, **values))

    def refused_text(self, text: str) -> str:
        return str(self.assertRaises(OptionsError, self.options.set, text))

    def test_typed_values(self):
        values: dict[str, Any] = {
            "flag": True,
            "count": -3,
            "ratio": 1.5,
            "text": "x",
            "amount": 5,
            "delay": 0.5,
            "color": "green",
            "items_": ("a", "b"),
            "limit": 7,
            "word": "w",
        }
        self.options.update(**values)
        self.assertEqual(dict(self.options.items()), values)

    def test_texts(self):
        self.options.set(
            "flag=yes",
            "count=-3",
            "ratio=1.5",
            "text=a=b",
            "amount=64k",
            "delay=250ms",
            "color=green",
            "items_=a",
            "items_=b c",
            "limit=1m",
            "word=w",
        )
        self.assertEqual(
            dict(self.options.items()),
            {
                "flag": True,
                "count": -3,
                "ratio": 1.5,
                "text": "a=b",
                "amount": 65536,
                "delay": 0.25,
                "color": "green",
                "items_": ("a", "b c"),
                "limit": 1 << 20,
                "word": "w",
            },
        )

    def test_sizes_and_durations_may_be_typed_as_texts(self):
        self.options.update(amount="2k", delay="1m", limit="1g")
        self.assertEqual(
            (self.options.amount, self.options.delay, self.options.limit), (2048, 60.0, 1 << 30)
        )

    def test_an_empty_text_unsets_what_is_optional(self):
        self.options.update(limit=5, word="w")
        self.options.set("limit=")
        self.options.update(word="")
        self.assertEqual((self.options.limit, self.options.word), (None, None))

    def test_types_are_not_bent(self):
        for values in (
            {"flag": 1},
            {"flag": "true"},
            {"count": True},
            {"count": 1.0},
            {"count": "1"},
            {"ratio": "1"},
            {"ratio": False},
            {"text": 5},
            {"text": None},
            {"amount": 1.5},
            {"amount": -1},
            {"delay": float("nan")},
            {"delay": float("inf")},
            {"items_": "a"},
            {"items_": [1]},
            {"color": "blue"},
        ):
            self.refused(**values)
        self.assertEqual(dict(self.options.items()), dict(some_options().items()))

    def test_what_was_expected_is_said(self):
        self.assertEqual(
            self.refused_text("amount=lots"),
            "option `amount`: expected a size in bytes such as 512, 64k, 1m or 1g, not `lots`",
        )
        self.assertEqual(
            self.refused_text("color=blue"),
            "option `color`: expected one of red, green, not `blue`",
        )
        self.assertEqual(self.refused(flag="x"), "option `flag`: expected true or false, not `x`")

    def test_a_message_is_one_bearable_line(self):
        message = self.refused_text("count=1\n\x1b[2J" + "9" * 1000)
        self.assertNotIn("\n", message)
        self.assertNotIn("\x1b", message)
        self.assertLess(len(message), 150)

    def test_bounds(self):
        options = core_options()
        error = self.assertRaises(OptionsError, options.set, "flow_detail=4")
        self.assertEqual(
            str(error), "option `flow_detail`: expected a whole number, from 0 to 3, not `4`"
        )
        self.assertRaises(OptionsError, options.update, connect_timeout=0)
        options.update(hook_timeout=0)
        self.assertEqual(options.hook_timeout, 0.0)

    def test_one_text_of_a_sequence_may_be_an_array(self):
        self.options.set('items_=["a b", "c"]')
        self.assertEqual(self.options.items_, ("a b", "c"))
        self.options.set("items_=")
        self.assertEqual(self.options.items_, ())
        self.refused_text("items_=[a]")
        self.refused_text("items_=[1]")

    def test_a_sequence_may_be_made_of_choices(self):
        options = Options([Option("some", "sequence", (), "", choices=("a", "b"))])
        expected = "option `some`: expected a list of a, b, not `c`"
        for texts in (["some=c"], ["some=a", "some=c"]):
            error = self.assertRaises(OptionsError, options.set, *texts)
            self.assertEqual(str(error), expected)
        self.assertRaises(OptionsError, options.set, 'some=["a", "c"]')
        self.assertRaises(OptionsError, options.update, some=["c"])
        for texts in (["some=a"], ["some=a", "some=b"], ['some=["b"]'], ["some="]):
            options.set(*texts)
        self.assertEqual(options.some, ())

    def test_the_last_text_of_what_is_no_sequence_counts(self):
        self.options.set("count=1", "count=2")
        self.assertEqual(self.options.count, 2)

    def test_an_assignment_needs_an_equals_sign(self):
        self.assertEqual(self.refused_text("flag"), "expected NAME=VALUE, not `flag`")

    def test_a_near_miss_is_named(self):
        options = core_options()
        error = self.assertRaises(OptionsError, options.set, "body_size_limt=1")
        self.assertEqual(
            str(error), "unknown option `body_size_limt`: did you mean `body_size_limit`?"
        )
        error = self.assertRaises(OptionsError, options.set, "body-size-limit=1")
        self.assertIn("did you mean `body_size_limit`?", str(error))

    def test_an_unknown_attribute_names_a_near_miss(self):
        error = self.assertRaises(AttributeError, getattr, core_options(), "confdirr")
        self.assertEqual(str(error), "unknown option `confdirr`: did you mean `confdir`?")

    def test_a_source_is_named(self):
        error = self.assertRaises(
            OptionsError, self.options.assign, {"count": "x"}, source="config.toml"
        )
        self.assertEqual(
            str(error), "config.toml: option `count`: expected a whole number, not `x`"
        )

    def test_values_survive_their_own_text(self):
        options = core_options()
        for name, value in options.items():
            option = options.option(name)
            self.assertEqual(option.from_texts([option.to_text(value)]), value, name)


class ChangeTests(SynchronousTestCase):
    """Changes are all or nothing, and told."""

    def setUp(self):
        self.options = some_options()

    def test_subscribers_are_told_what_is_new(self):
        seen = Subscriber("count", "flag")
        self.options.subscribe(seen)
        self.options.update(count=5, flag=False)
        self.assertEqual(seen.told, [({"count"}, (5, False))])

    def test_nothing_new_tells_nobody(self):
        seen = Subscriber()
        self.options.subscribe(seen)
        self.options.update(count=0)
        self.assertEqual(seen.told, [])

    def test_attributes_can_be_set(self):
        seen = Subscriber("count")
        self.options.subscribe(seen)
        self.options.count = 3
        self.assertEqual(seen.told, [({"count"}, (3,))])
        self.assertRaises(OptionsError, setattr, self.options, "nothing", 1)

    def test_one_wrong_value_changes_nothing(self):
        seen = Subscriber()
        self.options.subscribe(seen)
        self.assertRaises(OptionsError, self.options.update, count=5, flag="no")
        self.assertRaises(OptionsError, self.options.update, count=5, nothing=1)
        self.assertEqual((self.options.count, seen.told), (0, []))

    def test_a_refusal_restores_and_tells_everyone_again(self):
        first, second, third = (Subscriber("count", "text") for _ in range(3))
        second.refuses = {"count"}
        for subscriber in (first, second, third):
            self.options.subscribe(subscriber)
        error = self.assertRaises(OptionsError, self.options.update, count=5, text="x")
        self.assertEqual(str(error), "refused")
        new, old = ({"count", "text"}, (5, "x")), ({"count", "text"}, (0, ""))
        self.assertEqual(first.told, [new, old])
        self.assertEqual(second.told, [new, old])
        self.assertEqual(third.told, [old])
        self.assertFalse(self.options.is_set("count"))

    def test_a_change_made_by_a_subscriber_is_undone_too(self):
        def follows(options: Options, updated: set[str]) -> None:
            if "count" in updated:
                options.update(text=str(options.count))

        last = Subscriber("count", "text")
        last.refuses = {"count"}
        self.options.subscribe(follows)
        self.options.subscribe(last)
        self.assertRaises(OptionsError, self.options.update, count=5)
        self.assertEqual(self.options.count, 0)
        self.assertFalse(self.options.is_set("count"))

    def test_any_exception_restores(self):
        def broken(options: Options, updated: set[str]) -> None:
            raise RuntimeError("broken")

        self.options.subscribe(broken)
        error = self.assertRaises(RuntimeError, self.options.update, count=5)
        self.assertEqual(self.options.count, 0)
        self.assertIn("broken", error.__notes__[0])

    def test_a_subscription_ends(self):
        seen = Subscriber()
        end = self.options.subscribe(seen)
        end()
        end()
        self.options.update(count=5)
        self.assertEqual(seen.told, [])

    def test_a_subscriber_keeps_what_it_was_told(self):
        seen = Subscriber()
        self.options.subscribe(lambda options, updated: updated.clear())
        self.options.subscribe(seen)
        self.options.update(count=5)
        self.assertEqual(seen.told, [({"count"}, ())])

    def test_reset(self):
        self.options.update(count=5, flag=True)
        self.options.reset("count")
        self.assertEqual((self.options.count, self.options.flag), (0, True))
        self.assertEqual([self.options.is_set(n) for n in ("count", "flag")], [False, True])
        self.options.reset()
        self.assertFalse(self.options.flag)


class DeclarationTests(SynchronousTestCase):
    """Options that are declared at run time."""

    def setUp(self):
        self.options = Options()

    def refused(self, *arguments: Any, **named: Any) -> str:
        return str(self.assertRaises(OptionsError, self.options.add_option, *arguments, **named))

    def test_python_types(self):
        specs: tuple[tuple[object, str], ...] = (
            (bool, "bool"),
            (int, "int"),
            (str, "str"),
            (float | None, "optional float"),
            (Optional[str], "optional str"),  # noqa: UP045 - scripts may write it so
            (Sequence[str], "sequence of str"),
            (list[str], "sequence of str"),
            (tuple[str, ...], "sequence of str"),
            ("duration", "duration"),
            ("optional size", "optional size"),
            ("sequence of str", "sequence of str"),
        )
        for number, (spec, name) in enumerate(specs):
            default = {"str": "", "bool": False, "sequence of str": ()}.get(
                name, None if name.startswith("optional") else 0
            )
            option = self.options.add_option(f"option_{number}", spec, default, "")
            self.assertEqual(option.type_name, name)

    def test_unknown_types_are_refused(self):
        specs: tuple[object, ...] = (
            dict,
            "optional sequence",
            Sequence[int],
            int | str,
            "date",
            [],
            None,
        )
        for spec in specs:
            self.assertIn("unknown type", self.refused("name", spec, None, ""))

    def test_a_default_has_to_fit(self):
        self.assertEqual(
            self.refused("name", int, "x", ""), "option `name`: expected a whole number, not `x`"
        )
        self.refused("name", str, None, "")

    def test_a_choice_needs_choices(self):
        self.refused("name", "choice", "a", "")
        self.refused("name", int, 1, "", choices=["1"])
        self.refused("name", str, "c", "", choices=["a", "b"])

    def test_names_are_words_that_are_free(self):
        for name in ("", "Upper", "with-dash", "1st", "_private", "update", "keys"):
            self.refused(name, bool, False, "")

    def test_the_same_declaration_twice_is_none(self):
        self.options.add_option("name", int, 1, "help")
        self.options.update(name=2)
        self.options.add_option("name", int, 1, "help")
        self.assertEqual(self.options.name, 2)

    def test_another_declaration_is_refused(self):
        self.options.add_option("name", int, 1, "help")
        self.assertEqual(
            self.refused("name", str, "", "other"), "option `name`: already declared otherwise"
        )

    def test_a_replaced_declaration_keeps_what_was_set(self):
        self.options.add_option("name", int, 1, "help")
        self.options.update(name=2)
        self.options.add_option("name", int, 5, "help", replace=True)
        self.assertEqual(self.options.name, 2)
        self.options.add_option("name", str, "new", "help", replace=True)
        self.assertEqual(self.options.name, "new")
        self.assertFalse(self.options.is_set("name"))

    def test_a_replaced_declaration_brings_its_default(self):
        self.options.add_option("name", int, 1, "help")
        self.options.add_option("name", int, 5, "help", replace=True)
        self.assertEqual(self.options.name, 5)

    def test_a_removed_option_comes_back_as_it_was_set(self):
        self.options.add_option("name", int, 1, "help")
        self.options.update(name=2)
        self.options.remove_option("name")
        self.assertNotIn("name", self.options)
        self.assertRaises(AttributeError, getattr, self.options, "name")
        self.options.check_deferred()
        self.options.add_option("name", int, 1, "help")
        self.assertEqual(self.options.name, 2)

    def test_values_wait_for_their_declaration(self):
        self.options.assign({"name": 5}, source="config.toml", defer=True)
        self.options.add_option("name", int, 1, "help")
        self.assertEqual(self.options.name, 5)
        self.assertTrue(self.options.is_set("name"))
        self.options.check_deferred()

    def test_texts_wait_for_their_type(self):
        self.options.set("one=5", "many=a", "many=b", defer=True)
        self.options.add_option("one", int, 1, "")
        self.options.add_option("many", Sequence[str], [], "")
        self.assertEqual((self.options.one, self.options.many), (5, ("a", "b")))

    def test_the_later_source_wins(self):
        self.options.assign({"name": 5}, source="config.toml", defer=True)
        self.options.assign({"name": Texts(("6",))}, source="INTERCEPTOR_NAME", defer=True)
        self.options.add_option("name", int, 1, "help")
        self.assertEqual(self.options.name, 6)

    def test_a_waiting_value_that_does_not_fit_names_its_source(self):
        self.options.assign({"name": "x"}, source="config.toml", defer=True)
        self.assertEqual(
            self.refused("name", int, 1, "help"),
            "config.toml: option `name`: expected a whole number, not `x`",
        )
        self.assertNotIn("name", self.options)

    def test_a_value_that_waits_for_ever_is_an_error(self):
        self.options.add_option("name", int, 1, "help")
        self.options.assign({"nam": 5, "zzz": 6}, source="config.toml", defer=True)
        error = self.assertRaises(OptionsError, self.options.check_deferred)
        self.assertEqual(
            str(error),
            "config.toml: unknown option `nam`: did you mean `name`?; "
            "config.toml: unknown option `zzz`: `interceptor options` lists them",
        )

    def test_a_snapshot_restores_declarations_and_values(self):
        self.options.add_option("name", int, 1, "help")
        self.options.set("later=1", defer=True)
        before = self.options.snapshot()
        self.options.update(name=2)
        self.options.add_option("later", int, 0, "")
        self.options.restore(before)
        self.assertEqual(self.options.items(), [("name", 1)])
        self.assertFalse(self.options.is_set("name"))
        self.options.add_option("later", int, 0, "")
        self.assertEqual(self.options.later, 1)

    def test_a_default_is_held_in_its_own_type(self):
        self.options.add_option("delay", "duration", "250ms", "")
        self.options.add_option("ratio", float, 1, "")
        self.options.add_option("many", list[str], ["a"], "")
        self.assertEqual(
            (self.options.delay, repr(self.options.ratio), self.options.many), (0.25, "1.0", ("a",))
        )

    def test_as_a_mapping(self):
        self.options.add_option("b", int, 1, "")
        self.options.add_option("a", int, 2, "")
        self.assertEqual(list(self.options), ["b", "a"])
        self.assertEqual(self.options.keys(), {"a", "b"})
        self.assertEqual(len(self.options), 2)
        self.assertEqual([option.name for option in self.options.options()], ["b", "a"])

    def test_copies_are_independent_and_have_no_subscribers(self):
        self.options.add_option("name", int, 1, "")
        self.options.subscribe(Subscriber("nothing"))
        for other in (
            copy.copy(self.options),
            copy.deepcopy(self.options),
            pickle.loads(pickle.dumps(self.options)),
        ):
            other.update(name=2)
            self.assertEqual((self.options.name, other.name), (1, 2))


class CoreOptionsTests(SynchronousTestCase):
    """The table."""

    def test_names_are_unique(self):
        names = [option.name for option in CORE_OPTIONS]
        self.assertEqual(len(names), len(set(names)))

    def test_every_option_is_explained_and_grouped(self):
        bare = [o.name for o in CORE_OPTIONS if not (o.help.endswith(".") and o.group)]
        self.assertEqual(bare, [])

    def test_some_defaults(self):
        options = core_options()
        self.assertEqual(options.mode, ("regular@127.0.0.1:8080",))
        self.assertEqual(options.confdir, "~/.interceptor")
        self.assertEqual(options.body_size_limit, 1 << 30)
        self.assertEqual(options.happy_eyeballs_delay, 0.25)
        self.assertIsNone(options.stream_large_bodies)

    def test_each_is_independent(self):
        one, other = core_options(), core_options()
        one.update(flow_detail=3)
        self.assertEqual(other.flow_detail, 1)

    def test_a_declaration_is_frozen(self):
        self.assertRaises(AttributeError, setattr, CORE_OPTIONS[0], "name", "x")
        self.assertIsInstance(CORE_OPTIONS[0], Option)


class FollowTests(SynchronousTestCase):
    """`Options.exported` and `Options.follow`: the same options in another process."""

    def setUp(self):
        self.declarations = [
            Option("names", "sequence", ("a",), "Names."),
            Option("limit", "int", 3, "A limit."),
            Option("wait", "duration", None, "A time.", optional=True),
        ]
        self.source = Options(self.declarations)
        self.options = Options(self.declarations)

    def follow(self) -> None:
        self.options.follow(json.loads(json.dumps(self.source.exported())))

    def test_values_come_over_and_the_rest_gets_its_default(self):
        self.options.update(limit=9, wait=5)
        self.source.update(names=["b", "\udcff"])
        self.source.set("wait=250ms")
        self.follow()
        self.assertEqual(self.options.items(), self.source.items())
        self.assertTrue(self.options.is_set("names"))
        self.assertFalse(self.options.is_set("limit"))

    def test_values_for_options_to_be_declared_come_over(self):
        self.source.set("later=1", "later=2", "other=7", source="--set", defer=True)
        self.source.assign({"third": [1]}, source="file", defer=True)
        self.options.declare(Option("other", "int", 1, "Known here."))
        self.follow()
        self.assertEqual(self.options.other, 7)
        self.options.add_option("later", "sequence", (), "More.")
        self.assertEqual(self.options.later, ("1", "2"))
        error = self.assertRaises(OptionsError, self.options.check_deferred)
        self.assertIn("file: unknown option `third`", str(error))

    def test_subscribers_are_told_what_changed(self):
        told: list[set[str]] = []
        self.options.subscribe(lambda options, updated: told.append(updated))
        self.source.update(limit=4)
        self.follow()
        self.follow()
        self.assertEqual(told, [{"limit"}])

    def test_a_refusal_changes_nothing(self):
        self.options.update(limit=9)
        self.options.set("kept=1", defer=True)

        def refuse(options: Options, updated: set[str]) -> None:
            if options.limit == 4:
                raise OptionsError("no")

        self.options.subscribe(refuse)
        self.source.update(limit=4, names=["b"])
        self.assertRaises(OptionsError, self.follow)
        self.assertEqual((self.options.limit, self.options.names), (9, ("a",)))
        self.assertTrue(self.options.is_set("limit"))
        self.assertFalse(self.options.is_set("names"))
        self.assertRaises(OptionsError, self.options.check_deferred)

    def test_what_does_not_fit_is_refused_with_its_source(self):
        self.options.declare(Option("other", "int", 1, "Known here."))
        self.source.set("other=many", source="--set", defer=True)
        error = self.assertRaises(OptionsError, self.follow)
        self.assertTrue(str(error).startswith("--set: "), str(error))
