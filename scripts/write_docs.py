"""Writes the tables of docs/ that the code knows better: `python scripts/write_docs.py`. A test keeps them true.

A table stands between `<!-- NAME -->` and `<!-- /NAME -->`; everything else in the pages is written by hand.
"""

from __future__ import annotations

import enum
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin
from unittest import mock

import msgspec

from session_core.alert_rules import DEFAULT_RULES, MINUTE_S, THRESHOLDS, AlertRule, AlertSettings, Measure, Objective
from session_core.alert_states import TRANSITIONS as ALERT_TRANSITIONS
from session_core.alert_states import AlertState
from session_core.config import SessionConfig
from session_core.events import AnyFact, Event, Origin
from session_core.provider import Endpoint, FaultKind, ProviderConfig
from session_core.retry_manager import DEFAULT_POLICIES
from session_core.session_state import DEADLINE_S, TRANSITIONS
from session_core.store.alert_words import AlertMessage, condition
from session_core.vocabulary import EndReason, Outcome, Signal, State
from session_core.web.metrics import NOTHING_YET, Metrics
from session_core.web.settings import PREFIX, VARIABLES, LabSettings
from session_core.web.webhook import Webhook

DOCS = Path(__file__).parents[1] / "docs"

# What a struct's own fields cannot say.
SETTINGS: Mapping[str, str] = {
    "issuer": "The provider's address, exactly as its discovery document spells it",
    "client_id": "The name your application is registered under",
    "client_secret": "For a confidential client; better given as `SESSION_CORE_CLIENT_SECRET`",
    "auth_method": "How the client proves itself at the token endpoint",
    "redirect_uri": "Where the provider sends people back to, exactly as registered",
    "scope": "What to ask for; `offline_access` is what most providers want before they give a refresh token",
    "api_url": "Relative addresses of `session.client` are under it, and tokens may be sent to its origin",
    "api_origins": "Further origins that tokens may be sent to",
    "allow_insecure_http": "Whether a provider on another machine may be spoken to over http",
    "prompt": "What the provider is to ask at each sign-in; some give a refresh token only with `consent`",
    "dpop": "Whether tokens are bound to a key of the session's own: never, where the provider offers it, or always",
    "sign_out_by": "How the browser is sent to the provider to sign out: `get` for one that takes no POST, without the ID token",
    "tick_s_max": "Longest pause between two looks at the clocks: how soon a sleep of the device is noticed",
    "profile.rotates": "Whether a refresh token is replaced when it is used",
    "profile.grace_s": "How long the provider accepts a spent refresh token again",
    "profile.replay_is_idempotent": "Whether a refresh token sent again inside that window gets the same successor",
    "profile.honours_retry_after": "Whether the provider's Retry-After can be believed",
    "policy.name": "The name under which the log knows this policy",
    "policy.background": "Whether the worker and the heartbeat look after sessions",
    "policy.heartbeat_s": "Between two health checks of a session",
    "policy.refresh.proactive": "Whether tokens are refreshed before they expire",
    "policy.refresh.margin_s_max": "How long before expiry a refresh is due, at most",
    "policy.refresh.margin_share": "The same as a share of the token's life; the smaller one counts",
    "policy.refresh.jitter_share": "How much earlier by chance, as a share of that margin",
    "policy.refresh.unmoved_pause_s": "No refresh for this long after one that did not move the expiry",
    "policy.refresh.overdue_spread_s_max": "How far refreshes that are all overdue are spread, as after a wake",
    "policy.refresh.request_timeout_s": "How long one request to the provider may take",
    "policy.refresh.caller_wait_s_max": "How long a call waits for a token before it fails",
    "policy.retry_budget.retries_max": "Retries a session may make at once",
    "policy.retry_budget.retries_per_minute": "How fast that allowance comes back",
    "policy.fallback.steps": "Which steps may be tried when a refresh cannot help; their order is fixed",
    "policy.cache.routes": "What is cached for how long, by path; see below",
    "policy.cache.entries_max": "Answers kept for one session; 0 caches nothing",
    "policy.cache.bytes_max": "Bytes kept for one session",
    "policy.cache.entry_bytes_max": "Bytes of the largest answer that is kept",
    "policy.cache.revalidate_pause_s": "Between two tries to renew a stale answer in the background",
    "policy.limits.idle_s": "A session locks after this long without its user; none by default",
    "policy.limits.absolute_s": "A session ends after this long, whatever happens; 30 days where no limit is set",
    "policy.limits.warn_s": "How long before a limit it is announced",
}
RETRY_SETTINGS: Mapping[str, str] = {
    "attempts_max": "Tries, the first one counted; 1 means no retry",
    "delay_s_first": "Longest wait after the first try; it doubles from try to try",
    "delay_s_max": "Longest wait between two tries",
    "retry_after_s_max": "Longest Retry-After that is waited for",
    "classes": "The kinds of trouble that are worth another try",
}
BREAKER_SETTINGS: Mapping[str, str] = {
    "failures_max": "Failures in a row after which the token endpoint is left alone",
    "cooldown_s": "For how long, where the provider does not say",
    "cooldown_s_max": "For how long at most, whatever Retry-After says",
}
LAB_SETTINGS: Mapping[str, str] = {
    "db_path": "Where the app keeps its events",
    "sessions": "The [file](session-store.md) the app keeps its sessions in, sealed; beside its events unless it is said. `memory` forgets them when it stops",
    "access_ttl_s": "Seconds an access token of the embedded provider lives",
    "grace_s": "Seconds the embedded provider accepts a spent refresh token again",
    "config_path": "A TOML file with the settings above",
    "metrics_key": "What whoever reads `/metrics` must say; needed where the app listens on more than this machine",
    "sign_ins_per_minute": "Sign-ins that one address may begin, and end, in the long run; 60 may come at once",
    "alert_webhook": "Where [alerts](alerts.md) are told; https, or http on this machine",
    "ingest_key": "What whoever posts events must say; needed where the app listens on more than this machine",
    "ingest_origins": "Other origins, such as `https://app.example.com`, whose pages may post events; spaces between them",
    "ingest_posts_per_minute": "Posts of events that one address may make in the long run",
}
PROVIDER_SETTINGS: Mapping[str, str] = {
    "issuer": "Its address",
    "access_ttl_s": "Seconds an access token lives",
    "refresh_ttl_s": "Seconds a refresh token lives",
    "grace_s": "Seconds a spent refresh token gets its successor again; later it ends the whole family",
    "rotates": "Whether refreshing replaces the refresh token",
    "code_ttl_s": "Seconds an authorization code lives",
    "session_ttl_s": "Seconds a browser stays signed in at the provider",
    "access_token_format": "A signed JWT, or an opaque string",
    "signing_alg": "How tokens are signed",
    "id_token_on_refresh": "Whether a refresh brings a new ID token",
    "dpop_nonce_s": "How often the nonce changes that proofs of possession must carry; they need none without it",
}
# Where the class says it in its own words, nothing stands here or what goes before them.
EVENTS: Mapping[str, str] = {
    "SessionStarted": "A session began, or went on from the store after a restart.",
    "SessionEnded": "It is over, for exactly one reason.",
    "StateChanged": "It moved from one state to another.",
    "StuckFound": "It stayed too long in a state that has a deadline, and is forced on.",
    "TokenRefreshed": "New tokens are in use.",
    "RefreshFailed": "One try to refresh did not bring tokens.",
    "RetryScheduled": "Another try is planned.",
    "BreakerChanged": "The breaker before the token endpoint opened, probes or closed.",
    "FallbackTried": "One step of the fallback chain was tried or left out.",
    "LoginRequested": "The user has to sign in.",
    "CacheServed": "An answer came from the cache.",
    "CacheSwept": "What is of no more use left the cache.",
    "HeartbeatBeat": "The health was checked.",
    "GapObserved": "Time did not pass as planned: a sleep, a clock that was set, a stall.",
    "UserActed": "The user did something; the only thing that moves the idle limit.",
    "LimitWarned": "A limit is near.",
    "ClockSkewEstimated": "The provider's clock and the device's differ, or differ otherwise than before.",
    "TokenRevoked": "A refresh token was given back to the provider.",
    "PersistFailed": "The session could not be written to its store.",
    "KeysFetched": "The provider's signing keys were asked for.",
}
OUTCOMES: Mapping[str, str] = {
    "ok": "Tokens came; they are in use once they are stored",
    "transient": "The provider is in trouble (5xx, 408, 425) or no connection was free; tried again after a backoff",
    "throttled": "429; left alone for as long as it asked, at least until the breaker lets a probe through",
    "ambiguous": "The request may have been acted on; sent again only inside the provider's grace window",
    "offline": "It was never sent, or a guest network answered; the network is probed until it is back",
    "config": "The request is wrong, not the session (`invalid_client`, 404); tried again every five minutes",
    "rejected": "The provider says no to this very refresh token; the fallback chain takes over",
}
ENDS: Mapping[str, str] = {
    "signed_out": "The user signed out",
    "signed_out_elsewhere": "Signed out in another process or on another device",
    "signed_out_at_provider": "The provider said that its user is signed out there (back-channel logout)",
    "refresh_rejected": "The provider refused the refresh token that is in the store, and no fallback helped",
    "refresh_token_expired": "The refresh token is past its own end",
    "refresh_ambiguous": "The refresh token may be spent, and sending it again could end more than this session",
    "no_refresh_token": "The provider gave none, and the access token has expired",
    "idle_limit": "The user was away for longer than allowed",
    "absolute_limit": "The session is as old as it may get",
    "stopped": "The server stopped. A stored session goes on at the next start: `SessionStarted` with `resumed`",
}
FAULTS: Mapping[str, str] = {
    "status": "Answer with `status`, with Retry-After where told",
    "delay": "Answer `delay_s` late",
    "hang": "Never answer",
    "refuse": "Refuse the connection; over HTTP it is dropped instead",
    "drop_before": "Drop the connection before acting",
    "drop_after": "Act, then drop the connection",
    "garbled_json": "Break the JSON of the answer",
    "html": "Answer with a page of HTML",
    "clock_offset": "Have a clock that is wrong by `offset_s`",
    "rotate_keys": "Sign with a new key from now on",
    "revoke_refresh_tokens": "Forget every refresh token",
    "revoke_access_tokens": "Forget every access token",
    "end_sessions": "End every session at the provider and tell its clients",
    "unchanged_expiry": "Give new tokens with the old expiry",
    "omit_field": "Leave `field` out of the answer",
    "set_field": "Answer with `value` in `field`",
    "unsigned_id_token": "Give an ID token with `alg: none`",
    "foreign_id_token": "Give an ID token signed with someone else's key",
}

ALERT_SETTINGS: Mapping[str, str] = {
    "objective.target": "The share of sessions that are to go uninterrupted",
    "objective.window_s": "Over how long the budget has to last",
    "source": "Whose events are watched",
    "stale_s": "How old the newest event may be before nothing is judged any more",
    "rules.name": "What the alert is called; each rule needs a name of its own",
    "rules.measure": "What is counted",
    "rules.threshold": "`burn`: a multiple of what the objective allows; `health`: a share; the others: sessions",
    "rules.window_s": "Over how long",
    "rules.short_window_s": "The second window of a burn rule, which has to be exceeded too",
    "rules.sessions_min": "How many sessions a window needs before the rule is judged; at least 1 for `burn` and `health`",
    "rules.urgent": "Whether it cannot wait for the next working day",
    "rules.enabled": "Whether it is watched",
}
ALERT_MESSAGE: Mapping[str, str] = {
    "version": "Of this form: 1",
    "id": "The same when a message comes twice",
    "change": "What became of the alert",
    "rule": "Its name",
    "state": "Where it stands since",
    "open": "Whether it fires, acknowledged or not",
    "text": "All of it in words",
    "changed_at": "When it was found, RFC 3339",
    "silenced_until": "Until when nobody is told",
    "frozen": "Why it cannot be measured",
    "urgent": "As the rule says; this and the next four are null once the rule is removed",
    "measure": "What the rule counts",
    "threshold": "When it fires",
    "window_s": "Over how long",
    "short_window_s": "The second window of a burn rule",
    "objective": "The share of sessions that are to go uninterrupted",
    "measured_to": "The end of the windows, RFC 3339",
    "value": "What was measured over the window: a burn rate, a share or a count",
    "short_value": "The burn rate over the second window",
    "sessions": "How many sessions the window held",
    "found": "In how many of them it was found",
}

LIVE = frozenset(State) - {State.SIGNED_OUT, State.AUTHENTICATING, State.LOCKED, State.EXPIRED}
Row = tuple[str, ...]


def settings() -> Iterator[Row]:
    """Every setting of a TOML file, with its default and the range that its struct enforces."""
    yield from _settings(SessionConfig, "")


def routes() -> Iterator[Row]:
    meaning = {
        "pattern": "Paths it is for, such as `/api/profile*`; `*` crosses slashes",
        "ttl_s": "How long an answer is fresh",
        "stale_s": "How long after that it is still given out while it is renewed in the background",
        "stale_if_error_s": "How long after that it is still given out while the API fails",
    }
    from session_core.cache_rules import RouteTtl  # noqa: PLC0415 - only this table needs it

    ranges = _ranges(RouteTtl, pattern="*", ttl_s=0.0)
    for field in msgspec.structs.fields(RouteTtl):
        default = "required" if field.required else _value(field.default)
        yield f"`{field.name}`", default, ranges.get(field.name, _words(field.type)), meaning[field.name]


def lab_settings() -> Iterator[Row]:
    yield from (
        (f"`{PREFIX}{variable}`", default, allowed, meaning)
        for variable, (_, default, allowed, meaning) in zip(
            VARIABLES,
            _plain(LabSettings, LAB_SETTINGS),
            strict=True,
        )
    )


def provider_settings() -> Iterator[Row]:
    yield from _plain(ProviderConfig, PROVIDER_SETTINGS, leave_out=("clients", "users"))


def states() -> Iterator[Row]:
    """Where each signal leads; what holds for every live state stands once, what changes nothing is left out."""
    common = {
        (signal, TRANSITIONS[State.ACTIVE, signal])
        for signal in Signal
        if len({TRANSITIONS.get((state, signal)) for state in LIVE}) == 1 and (State.ACTIVE, signal) in TRANSITIONS
    }
    yield "every live state", _moves(common), "–"
    for state in State:
        moves = {(signal, goal) for (origin, signal), goal in TRANSITIONS.items() if origin is state is not goal}
        deadline = f"{DEADLINE_S[state]:g} s" if state in DEADLINE_S else "–"
        yield (
            f"{state}{'' if state in LIVE else ' (not live)'}",
            _moves(moves - common if state in LIVE else moves),
            deadline,
        )


def _moves(moves: Iterable[tuple[Signal, State]]) -> str:
    by_goal: dict[State, list[str]] = {}
    for signal, goal in sorted(moves):
        by_goal.setdefault(goal, []).append(signal)
    return "; ".join(f"{', '.join(signals)} → **{goal}**" for goal, signals in by_goal.items()) or "–"


def outcomes() -> Iterator[Row]:
    yield from ((f"`{outcome}`", OUTCOMES[outcome]) for outcome in Outcome)


def ends() -> Iterator[Row]:
    yield from ((f"`{reason}`", ENDS[reason]) for reason in EndReason)


def retries() -> Iterator[Row]:
    for call, policy in DEFAULT_POLICIES.items():
        yield (
            f"`{call}`",
            str(policy.attempts_max),
            f"{policy.delay_s_first:g} s, doubling to {policy.delay_s_max:g} s",
            f"{policy.retry_after_s_max:g} s",
            ", ".join(sorted(policy.classes)),
        )


def metrics() -> Iterator[Row]:
    """As a scrape tells them, before anything has happened."""
    for family in Metrics().families(NOTHING_YET):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        words = {label: None for sample in family.samples for label in sample.labels if label != "le"}
        yield f"`{name}`", family.type, ", ".join(f"`{word}`" for word in words) or "–", family.documentation


def faults() -> Iterator[Row]:
    yield from ((f"`{kind}`", FAULTS[kind]) for kind in FaultKind)


def endpoints() -> Iterator[Row]:
    from session_core.provider.core import ROUTES  # noqa: PLC0415 - only this table needs it

    for path, route in ROUTES.items():
        named = "" if route.endpoint is Endpoint.ANY else f"`{route.endpoint}`"
        yield f"`{path}`", ", ".join(route.methods), named


def envelope() -> Iterator[Row]:
    for field in (*msgspec.structs.fields(Event), *msgspec.structs.fields(Origin)):
        if field.name not in ("origin", "fact"):
            yield f"`{field.name}`", _type(field.type)


def events() -> Iterator[Row]:
    for fact in get_args(AnyFact):
        fields = ", ".join(f"`{field.name}`" for field in msgspec.structs.fields(fact))
        said = [EVENTS.get(fact.__name__, ""), " ".join((fact.__doc__ or "").split())]
        if not any(said):
            raise SystemExit(f"Say in scripts/write_docs.py or in its docstring when {fact.__name__} happens.")
        yield f"**{fact.__name__}**", " ".join(filter(None, said)), fields


def alert_rules() -> Iterator[Row]:
    for rule in DEFAULT_RULES:
        yield (
            f"**{rule.name}**",
            f"`{rule.measure}`",
            condition(rule),
            str(rule.sessions_min),
            "yes" if rule.urgent else "no",
        )


def alert_states() -> Iterator[Row]:
    for state in AlertState:
        moves = {(signal, goal) for (origin, signal), goal in ALERT_TRANSITIONS.items() if origin is state is not goal}
        yield state, _moves(moves)


def alert_settings() -> Iterator[Row]:
    yield from _alert_settings(Objective, "objective.", _ranges(Objective))
    yield from _alert_settings(AlertSettings, "", _ranges(AlertSettings))
    limits = _ranges(AlertRule, name="*", measure=Measure.STUCK, threshold=1)
    own = {name.removeprefix("*: "): limit for name, limit in limits.items()}
    thresholds = [f"{_number(low)} to {_number(high)}" for low, high in dict.fromkeys(THRESHOLDS.values())]
    own |= {"threshold": "; ".join(thresholds), "short_window_s": f"{_number(MINUTE_S)} to `window_s`"}
    yield from _alert_settings(AlertRule, "rules.", own)


def _alert_settings(struct: type[msgspec.Struct], path: str, ranges: Mapping[str, str]) -> Iterator[Row]:
    for field in msgspec.structs.fields(struct):
        name = path + field.name
        if name in ALERT_SETTINGS:
            default = "required" if field.required else _value(field.default)
            yield f"`{name}`", default, ranges.get(field.name) or _words(field.type), ALERT_SETTINGS[name]


def alert_message() -> Iterator[Row]:
    for field in msgspec.structs.fields(AlertMessage):
        words = _choices(field.type)
        kind = ", ".join(f"`{word}`" for word in words) if words else _type(field.type)
        yield f"`{field.name}`", kind, ALERT_MESSAGE[field.name]


TABLES: Mapping[str, tuple[str, Row, Callable[[], Iterator[Row]]]] = {
    "settings": ("configuration.md", ("Setting", "Default", "Allowed", "What it does"), settings),
    "routes": ("configuration.md", ("Setting", "Default", "Allowed", "What it does"), routes),
    "lab-settings": ("configuration.md", ("Variable", "Default", "Allowed", "What it does"), lab_settings),
    "states": ("lifecycle.md", ("State", "Signals and where they lead", "Deadline"), states),
    "outcomes": ("lifecycle.md", ("Outcome", "What it means, and what happens"), outcomes),
    "ends": ("lifecycle.md", ("Reason", "When"), ends),
    "retries": ("lifecycle.md", ("Call", "Tries", "Wait", "Retry-After up to", "After trouble of"), retries),
    "provider-settings": ("provider.md", ("Setting", "Default", "Allowed", "What it does"), provider_settings),
    "endpoints": ("provider.md", ("Path", "Methods", "Endpoint in a fault"), endpoints),
    "faults": ("provider.md", ("Kind", "What it does"), faults),
    "envelope": ("events.md", ("Field", "Type"), envelope),
    "events": ("events.md", ("Event", "When", "Fields"), events),
    "alert-rules": ("alerts.md", ("Rule", "Measure", "Fires when", "Sessions", "Urgent"), alert_rules),
    "alert-states": ("alerts.md", ("State", "Signals and where they lead"), alert_states),
    "alert-settings": ("alerts.md", ("Setting", "Default", "Allowed", "What it does"), alert_settings),
    "metrics": ("metrics.md", ("Metric", "Type", "Labels", "What it says"), metrics),
    "alert-message": ("alerts.md", ("Field", "Type", "What it says"), alert_message),
}


def table(name: str) -> str:
    _, head, rows = TABLES[name]
    lines = [head, tuple("---" for _ in head), *rows()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def filled(page: str, text: str) -> str:
    """The page's text with each of its tables as the code has it now."""
    for name, (home, _, _) in TABLES.items():
        if home == page:
            pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
            text, found = pattern.subn(lambda marks, name=name: f"{marks[1]}{table(name)}\n{marks[2]}", text)
            if found != 1:
                raise SystemExit(f"docs/{page} must have one <!-- {name} --> … <!-- /{name} -->.")
    return text


def pages() -> list[str]:
    return sorted({home for home, _, _ in TABLES.values()})


def _settings(struct: type[msgspec.Struct], path: str) -> Iterator[Row]:
    ranges = _ranges_of(struct)
    for field in msgspec.structs.fields(struct):
        name = path + field.name
        inner = _struct_in(field.type)
        if inner is not None and not _is_many(field.type):
            yield from _settings(inner, f"{name}.")
            continue
        allowed = ranges.get(field.name) or _words(field.type)
        yield f"`{name}`", _default(field, name), allowed, _meaning(name, field.name)


def _meaning(path: str, name: str) -> str:
    if path.startswith("policy.retry."):
        return RETRY_SETTINGS[name]
    if path.startswith("policy.breaker."):
        return BREAKER_SETTINGS[name]
    return SETTINGS[path]


def _default(field: Any, path: str) -> str:
    if field.required:
        return "required"
    if path.startswith("policy.retry."):
        call, name = path.split(".")[2:]
        return _value(getattr(DEFAULT_POLICIES[call], name))
    if field.default_factory is not msgspec.NODEFAULT:
        return _value(field.default_factory())
    return _value(field.default)


def _plain(struct: type[msgspec.Struct], meaning: Mapping[str, str], leave_out: tuple[str, ...] = ()) -> Iterator[Row]:
    ranges = _ranges_of(struct)
    for field in msgspec.structs.fields(struct):
        if field.name not in leave_out:
            allowed = ranges.get(field.name) or _words(field.type)
            yield f"`{field.name}`", _value(field.default), allowed, meaning[field.name]


def _ranges_of(struct: type[msgspec.Struct]) -> dict[str, str]:
    needed = {"issuer": "https://id.example", "client_id": "app", "redirect_uri": "https://app.example/callback"}
    return _ranges(struct, **(needed if struct is SessionConfig else {}))


def _ranges(struct: type[msgspec.Struct], **needed: Any) -> dict[str, str]:
    """The ranges that making one of them checks; found by listening to the check."""
    found: dict[str, str] = {}

    def listen(field: str, _value: object, low: float, high: float) -> None:
        name = field.rpartition(".")[2].lower().removeprefix(PREFIX.lower())
        found[name] = f"{_number(low)} to {_number(high)}"

    module = sys.modules[struct.__module__]
    if not hasattr(module, "require"):
        return found
    with mock.patch.object(module, "require", listen):
        struct(**needed)
    return found


def _number(value: float) -> str:
    return f"{value:,.10g}".replace(",", "_") if value >= 10_000 else f"{value:g}"


def _value(value: object) -> str:
    match value:
        case None | "" | () | []:
            return "–"
        case bool():
            return f"`{str(value).lower()}`"
        case int() | float():
            return f"`{_number(value)}`"
        case tuple() | frozenset():
            parts = sorted(value, key=str) if isinstance(value, frozenset) else value
            return ", ".join(f"`{part}`" for part in parts)
        case _:
            return f"`{value}`"


def _words(kind: Any) -> str:
    """The words a setting can be, or what sort of text it is."""
    words = _choices(kind)
    if words:
        return ", ".join(f"`{word}`" for word in words)
    names = {bool: "`true`, `false`", str: "text", tuple: "list", Path: "path", Webhook: "address"}
    for candidate in (get_origin(kind), *(_options(kind))):
        if candidate in names:
            return names[candidate]
    return "–"


def _choices(kind: Any) -> list[str]:
    for candidate in (kind, *_options(kind), *get_args(kind)):
        if get_origin(candidate) is Literal:
            return [str(word) for word in get_args(candidate)]
        if isinstance(candidate, enum.EnumMeta):
            return [str(word) for word in candidate]
    return []


def _options(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)


def _struct_in(kind: Any) -> type[msgspec.Struct] | None:
    for candidate in (*_options(kind), *get_args(kind)):
        if isinstance(candidate, type) and issubclass(candidate, msgspec.Struct):
            return candidate
    return None


def _is_many(kind: Any) -> bool:
    return get_origin(kind) is tuple


def _type(kind: Any) -> str:
    names = [option.__name__ for option in _options(kind) if option is not NoneType]
    return " or ".join(names) + (", or nothing" if NoneType in _options(kind) else "")


def main() -> None:
    for page in pages():
        path = DOCS / page
        path.write_text(filled(page, path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
