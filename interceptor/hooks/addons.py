"""The addon chain: which addons there are, in which order, and their lives."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger, globalLogPublisher

from interceptor.errors import HookFailed, InterceptorError, OptionsError, ScriptError
from interceptor.hooks.bus import HookBus
from interceptor.hooks.context import Binding, LogEntry, Proxy, enter, leave
from interceptor.hooks.installed import Installation, Installed
from interceptor.hooks.listener import Listener
from interceptor.hooks.logs import LogEventObserver
from interceptor.hooks.scripts import Script, fault_of
from interceptor.hooks.shared import Shared, SharedMessage, own_store
from interceptor.hooks.tracebacks import cut_traceback
from interceptor.model.options import Options
from interceptor.threads import DaemonThreads

if TYPE_CHECKING:
    from twisted.python.failure import Failure

TICK_INTERVAL: Final = 0.1
"""Seconds from one ``tick`` to the next."""

POLL_INTERVAL: Final = 1.0
"""Seconds between two looks whether a script's file has changed."""

MOST_MESSAGES: Final = 1000
"""How many messages may wait for their hooks."""

_BUS_OPTIONS: Final = frozenset(("hook_timeout", "hook_stall", "script_error_policy"))

_log = Logger(namespace="interceptor.hooks")


class AddonChain:
    """All addons of one proxy, in the order in which they were added, and their `HookBus`.

    The life of a chain: `start`, any number of `add`, `load_scripts`, `running`, `shutdown`.
    Addons can be added and removed at any time. An event in flight goes on with the addons that
    it began with. ``reactor`` gives the time and takes calls from threads; ``master`` is what
    scripts see as ``ctx.master``.
    """

    def __init__(self, options: Options, *, reactor: Any, master: Any = None) -> None:
        self.options = options
        limit = _option(options, "script_threads", 16)
        self.threads = DaemonThreads(reactor, limit, "interceptor-hook")
        self.proxy = Proxy(options, master, self.threads.run)
        self.proxy.shared = Shared(reactor, own_store(reactor.seconds, self.deliver_message))
        self.binding = Binding(self.proxy)
        self.bus = HookBus(reactor)
        self._reactor = reactor
        self._installed: list[Installed] = []
        self._scripts_at: int | None = None
        self._is_running = False
        self._ending: list[Deferred[None]] = []
        self._observer = LogEventObserver(self.proxy, self._deliver, reactor)
        self._unsubscribe: Any = None
        self._loops: dict[str, LoopingCall] = {}
        self._messages: deque[SharedMessage] = deque()
        self._delivering = False
        self._rebuild()

    # -- the list ---------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[object]:
        return iter([listener.addon for listener in self._listeners()])

    def __len__(self) -> int:
        return sum(1 for _ in self._listeners())

    def __contains__(self, wanted: object) -> bool:
        return self._find(wanted) is not None

    def get(self, name: str) -> Any:
        """The addon of this name, or None."""
        found = self._find(name)
        return None if found is None else found[1].addon

    def names(self) -> list[str]:
        """The names of all addons, in their order."""
        return [listener.name for listener in self._listeners()]

    def add(self, *addons: object) -> None:
        """Add addons at the end: objects, modules, or instances of `Script`.

        Each is started, loaded and configured, and gets ``running`` if the proxy runs already.
        Raises `OptionsError` or `ScriptError`, and then adds nothing of the one that is wrong.
        """
        for addon in addons:
            if addon in self:
                raise ScriptError(f"addon {addon!r} is there already")
            if isinstance(addon, Script):
                installed = self._installation().install_script(addon)
            else:
                installed = self._installation().install(addon)
            self._installed.append(installed)
            self._rebuild()
            self._run_late(installed)

    def remove(self, wanted: object) -> Deferred[None]:
        """Take an addon, or the one of that name, out of the chain, with all it brought along.

        Its ``done`` is called; the Deferred fires when that has answered, and never fails. Raises
        `ValueError` when there is no such addon.
        """
        found = self._find(wanted)
        if found is None:
            raise ValueError(f"there is no addon {wanted!r}")
        installed, listener = found
        if listener is installed.listeners[0]:
            index = self._installed.index(installed)
            del self._installed[index]
            if self._scripts_at is not None and index < self._scripts_at:
                self._scripts_at -= 1
            self._withdraw(installed)
            self._rebuild()
            return self._end(installed)
        installed.listeners.remove(listener)
        self._rebuild()
        return self._finish([listener])

    # -- the life of the chain --------------------------------------------------------------------

    def start(self) -> None:
        """Make the proxy one that is live: for ``ctx``, for changes of options, for the log."""
        if self._unsubscribe is None:
            enter(self.binding)
            globalLogPublisher.addObserver(self._observer)
            self._unsubscribe = self.options.subscribe(self._options_changed)

    def load_scripts(self) -> None:
        """Load what the option ``scripts`` names, behind what was added up to now.

        From then on the chain follows the option. Raises `ScriptError` or `OptionsError`; no
        script is there then.
        """
        self._scripts_at = len(self._installed)
        self._follow_option(_option(self.options, "scripts", ()))

    def running(self) -> Deferred[None]:
        """Fire ``running``: everything listens, and all scripts are live.

        The Deferred fires when every hook has answered, and fails with `HookFailed` if one did
        whose addon's error policy is ``kill``. From then on there are ticks, and scripts are loaded
        again when their files change.
        """
        self._is_running = True
        return Deferred.fromCoroutine(self._run_all())

    def shutdown(self, deadline: float | None = None) -> Deferred[None]:
        """Call ``done`` on every addon, in their order, and stop everything.

        Waits for hooks and threads no longer than ``deadline`` seconds, as a rule the option
        ``shutdown_grace``; never fails.
        """
        if deadline is None:
            deadline = _option(self.options, "shutdown_grace", 5.0)
        return Deferred.fromCoroutine(self._shut_down(self._reactor.seconds() + deadline))

    def reload(self, name: str) -> None:
        """Load a script's file again; the new version takes the place of the old one.

        Raises `ScriptError` or `OptionsError` when that does not succeed, and `ValueError` when
        there is no such script; the old version goes on then.
        """
        found = self._find(name)
        if found is None or found[0].script is None:
            raise ValueError(f"there is no script {name!r}")
        self._reload(found[0], found[0].script)

    def reload_scripts(self) -> None:
        """Load every script's file again; of one that cannot be, the old version goes on."""
        for installed in list(self._installed):
            if installed.script is not None and installed in self._installed:
                self._reload_or_log(installed, installed.script)

    def deliver_message(self, message: SharedMessage) -> None:
        """Fire ``shared_message`` once those before have been answered.

        When so many wait that hooks cannot keep up, the message is lost, and the log says so.
        """
        if not self._is_running or self.bus.shared_message is None:
            return
        if len(self._messages) >= MOST_MESSAGES:
            _log.warn(
                "{count} messages wait for `shared_message`: one on channel {channel} is lost",
                count=len(self._messages),
                channel=message.channel,
                proxy=self.proxy,
            )
            return
        self._messages.append(message)
        if not self._delivering:
            self._delivering = True
            self._reactor.callLater(0, self._deliver_messages)

    # -- inside: scripts --------------------------------------------------------------------------

    def _reload(self, old: Installed, script: Script) -> None:
        installation = Installation(self.bus, self.proxy, self._installed, old)
        new = installation.install_script(script.again())
        new.by_option = old.by_option
        self._installed[self._installed.index(old)] = new
        self._withdraw(old)
        self._rebuild()
        self._end(old)
        self._run_late(new)

    def _follow_option(self, specs: Sequence[str]) -> None:
        """Make the scripts of the chain those of ``specs``, or raise and change nothing."""
        assert self._scripts_at is not None
        left = [installed for installed in self._installed if installed.by_option]
        wanted: list[Installed] = []
        fresh: list[Installed] = []
        before = self.options.snapshot()
        try:
            for spec in specs:
                kept = next((old for old in left if _spec_of(old) == spec), None)
                if kept is not None:
                    left.remove(kept)
                else:
                    installation = self._installation(fresh)
                    kept = installation.install_script(Script(spec))
                    kept.by_option = True
                    fresh.append(kept)
                wanted.append(kept)
        except BaseException:
            for installed in fresh:
                self._finish(installed.listeners)
            self.options.restore(before)
            raise
        others = [installed for installed in self._installed if not installed.by_option]
        others[self._scripts_at : self._scripts_at] = wanted
        self._installed = others
        for installed in left:
            self._withdraw(installed)
        self._rebuild()
        for installed in left:
            self._end(installed)
        for installed in fresh:
            self._run_late(installed)

    def _poll(self) -> None:
        if not _option(self.options, "script_reload", True):
            return
        for installed in list(self._installed):
            script = installed.script
            if script is None or installed not in self._installed:
                continue
            signature = script.signature()
            if signature is None or signature == script.seen:
                continue
            # Whatever comes of it, this state of the file has been seen.
            script.seen = signature
            self._reload_or_log(installed, script)

    def _reload_or_log(self, installed: Installed, script: Script) -> None:
        try:
            self._reload(installed, script)
        except InterceptorError as error:
            _log.error(
                "script {path} was changed, but the old version goes on: {error}",
                path=str(script.path),
                error=fault_of(script.path, error),
                code=error.code,
                proxy=self.proxy,
            )
        else:
            _log.info("script {path} was loaded again", path=str(script.path), proxy=self.proxy)

    # -- inside: options --------------------------------------------------------------------------

    def _options_changed(self, options: Options, updated: set[str]) -> None:
        if updated & _BUS_OPTIONS:
            self._rebuild()
        if "script_threads" in updated:
            self.threads.limit = options.script_threads
        for listener in list(self._listeners()):
            self._configure(listener, set(updated))
        if "scripts" in updated and self._scripts_at is not None:
            try:
                self._follow_option(options.scripts)
            except ScriptError as error:
                raise OptionsError(str(error)) from error

    def _configure(self, listener: Listener, updated: set[str]) -> None:
        try:
            answer = self.bus.call(listener, "configure", self.options, updated)
        except OptionsError:
            raise
        except Exception as error:
            text = cut_traceback(error, listener.owns)
            message = f"addon `{listener.name}`: `configure` failed\n{text}"
            if (listener.policy or self.bus.policy) == "kill":
                raise OptionsError(message) from error
            _log.error("{text}", text=message, proxy=self.proxy)
            return
        if isinstance(answer, Deferred):
            answer.addErrback(_ignored)
            _log.warn(
                "addon `{addon}`: `configure` has to answer at once; its Deferred is ignored",
                addon=listener.name,
                proxy=self.proxy,
            )

    # -- inside: beginnings and ends --------------------------------------------------------------

    async def _run_all(self) -> None:
        for installed in list(self._installed):
            if installed.first_run():
                await self._run(installed)
        self._keep_time()

    async def _run(self, installed: Installed) -> None:
        for listener in list(installed.listeners):
            waiting = self.bus.fire_at(listener, "running")
            if waiting is not None:
                await waiting

    def _run_late(self, installed: Installed) -> None:
        if self._is_running and installed.first_run():
            Deferred.fromCoroutine(self._run(installed)).addErrback(_ignored)

    def _withdraw(self, gone: Installed) -> None:
        """Take back the events and layers of what has left the chain, but for those of others."""
        loaders = [other.loader for other in self._installed]
        self.bus.declared.remove(
            set(gone.loader.events).difference(*[loader.events for loader in loaders]),
            set(gone.loader.layers).difference(*[loader.layers for loader in loaders]),
        )

    def _end(self, installed: Installed) -> Deferred[None]:
        """Call ``done`` on what has left the chain, then take its options back."""

        def clear(result: Any) -> None:
            declared = {name for other in self._installed for name in other.option_names}
            for name in installed.option_names:
                if name not in declared and name in self.options:
                    self.options.remove_option(name)
            if installed.script is not None:
                installed.script.discard()

        return self._finish(installed.listeners).addBoth(clear)

    def _finish(self, listeners: Iterable[Listener]) -> Deferred[None]:
        ended: Deferred[None] = Deferred.fromCoroutine(self._call_done(list(listeners)))
        if not ended.called:
            self._ending.append(ended)
            ended.addBoth(lambda result: self._ending.remove(ended))
        return ended

    async def _call_done(self, listeners: Sequence[Listener]) -> None:
        for listener in listeners:
            try:
                waiting = self.bus.fire_at(listener, "done")
                if waiting is not None:
                    await waiting
            except HookFailed:
                # Logged by the bus; the others have to be told all the same.
                continue

    async def _shut_down(self, until: float) -> None:
        self._is_running = False
        self._keep_time()
        if self._unsubscribe is not None:
            self._unsubscribe()
        for listener in list(self._listeners()):
            ended = self._finish([listener])
            await self._limited(ended, until, f"`done` of addon `{listener.name}`")
        for ended in list(self._ending):
            await self._limited(ended, until, "`done` of an addon that was removed")
        self._installed, installed = [], self._installed
        self._rebuild()
        for one in installed:
            if one.script is not None:
                one.script.discard()
        await self._limited(self.threads.stop(), until, "a hook marked @concurrent")
        if self._unsubscribe is not None:
            globalLogPublisher.removeObserver(self._observer)
            leave(self.binding)
            self._unsubscribe = None

    async def _limited(self, deferred: Deferred[None], until: float, what: str) -> None:
        """Wait for ``deferred`` until then, and say so if it was not worth it."""
        if deferred.called:
            return
        given_up = False

        def give_up() -> None:
            nonlocal given_up
            given_up = True
            deferred.cancel()

        timer = self._reactor.callLater(max(until - self._reactor.seconds(), 0), give_up)
        try:
            await deferred
        except CancelledError:
            pass
        if timer.active():
            timer.cancel()
        if given_up:
            _log.warn("shutting down without waiting for {what}", what=what, proxy=self.proxy)

    # -- inside: the clock, the log, the table ----------------------------------------------------

    def _keep_time(self) -> None:
        """Tick while somebody listens, and look at files while there are scripts."""
        polls = any(installed.script is not None for installed in self._installed)
        self._loop(TICK_INTERVAL, self._tick, self.bus.tick is not None)
        self._loop(POLL_INTERVAL, self._poll, polls)

    def _loop(self, interval: float, function: Callable[[], Any], wanted: bool) -> None:
        wanted = wanted and self._is_running
        name = function.__name__
        if wanted and name not in self._loops:
            # A fresh one each time: an old one may still be waiting for its last call's answer.
            looping = self._loops[name] = LoopingCall(function)
            looping.clock = self._reactor
            looping.start(interval, now=False).addErrback(_ignored)
        elif not wanted and name in self._loops:
            self._loops.pop(name).stop()

    def _tick(self) -> Deferred[None] | None:
        return self._fire_and_go_on(self.bus.tick, None)

    def _deliver_messages(self) -> None:
        delivering = Deferred.fromCoroutine(self._fire_messages())
        delivering.addErrback(_ignored)

    async def _fire_messages(self) -> None:
        try:
            while self._messages and self._is_running:
                message = self._messages.popleft()
                waiting = self._fire_and_go_on(self.bus.shared_message, message)
                if waiting is not None:
                    await waiting
        finally:
            self._messages.clear()
            self._delivering = False

    def _deliver(self, entry: LogEntry) -> None:
        self._fire_and_go_on(self.bus.log, entry)

    def _fire_and_go_on(self, fire: Any, argument: object) -> Deferred[None] | None:
        """Fire an event that is no flow's, so that no failure can mean the end of one."""
        if fire is None:
            return None
        try:
            waiting: Deferred[None] | None = fire(argument)
        except HookFailed:
            return None
        return waiting.addErrback(_ignored) if waiting is not None else None

    def _rebuild(self) -> None:
        options = self.options
        self.bus.timeout = _option(options, "hook_timeout", 60.0)
        self.bus.stall = _option(options, "hook_stall", 0.1)
        self.bus.policy = _option(options, "script_error_policy", "continue")
        self.bus.rebuild(self._listeners())
        self._keep_time()

    def _listeners(self) -> Iterator[Listener]:
        for installed in self._installed:
            yield from installed.listeners

    def _find(self, wanted: object) -> tuple[Installed, Listener] | None:
        for installed in self._installed:
            listener = installed.listener_for(wanted)
            if listener is not None:
                return installed, listener
        return None

    def _installation(self, others: Iterable[Installed] = ()) -> Installation:
        return Installation(self.bus, self.proxy, [*self._installed, *others])


def _option(options: Options, name: str, default: Any) -> Any:
    """The value of a core option; ``default`` for options that have none of the core's."""
    return getattr(options, name) if name in options else default


def _spec_of(installed: Installed) -> str | None:
    return installed.script.spec if installed.script is not None else None


def _ignored(failure: Failure) -> None:
    """Drop what the bus has logged."""
    if not failure.check(HookFailed, CancelledError):
        _log.failure("a hook could not be called", failure)
