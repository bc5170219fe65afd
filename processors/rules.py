"""Custom rules: an expression over the published figures of an asset raises a level. Pure.

    events_per_s > 8 and long_share > 0.9 and (funding_rate_8h > 0.0005 or open_interest_change_5m_pct < -1)

An expression is parsed once. Only comparisons, and/or/not, + - * /, numbers, figures and abs/min/max may stand in it;
simpleeval evaluates what is left. A rule that asks for a figure without data, divides by 0 or exceeds
what a float holds is not met."""

import ast
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from operator import attrgetter
from typing import Any, Final, Protocol

from simpleeval import SimpleEval

from schemas.records import AssetState, CascadeAlert, WindowFigures
from schemas.words import LEVEL_RANKS, Exchange

EXPRESSION_CHARS_MAX: Final = 500
NODES_MAX: Final = 100  # an evaluation visits each at most once: 1 µs a node
NUMBER_MAX: Final = 1e15
FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {"abs": abs, "min": min, "max": max}
ALLOWED: Final = (
    ast.Expression, ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.USub, ast.BinOp, ast.Add, ast.Sub, ast.Mult,
    ast.Div, ast.Compare, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq, ast.Name, ast.Load, ast.Constant,
    ast.Call,
)  # fmt: skip
TERMS: Final = ("velocity", "acceleration", "volume", "correlation", "funding", "open_interest")
OF_ASSET: Final = (
    "probability", "boost", "relative_ratio", "correlation", "correlation_lag_ms", "open_interest_change_1m_pct",
    "open_interest_change_5m_pct", "open_interest_change_1h_pct", "open_interest_usd_per_s", "funding_rate_8h",
    "funding_trend", "funding_max_24h", "funding_velocity_per_h", "funding_acceleration_per_h2", "confidence",
)  # fmt: skip
OF_WINDOW: Final = tuple(name for name in WindowFigures.__struct_fields__ if name != "size_ms")
OF_EXCHANGE: Final = ("events_per_s", "notional_usd_per_s", "share")
Published = AssetState | CascadeAlert
Figures = Mapping[str, Callable[[Published], float | None]]


class Written(Protocol):
    """A rule as the settings have it."""

    @property
    def expression(self) -> str:
        """What is to hold."""

    @property
    def level(self) -> str:
        """What it raises then."""


class RuleTree(Protocol):
    """What is needed of the settings of one asset."""

    @property
    def rules(self) -> Sequence[Written]:
        """Its rules."""

    def figures(self) -> Figures:
        """What they may name."""


class RuleError(ValueError):
    """An expression that cannot be a rule; the message names the column."""


class _NoData(Exception):
    """A figure without data was asked for."""


def figures(windows: Iterable[str], judged: str) -> dict[str, Callable[[Published], float | None]]:
    """What an expression may name, and how a record gives it: figures of the asset; of the judged window; of the
    window of each flag, with the flag before it; of each exchange, with its name before it; terms of the score.

    `windows`: the flags by rising size; `judged`: that of the judged size."""
    found: dict[str, Callable[[Published], float | None]] = {name: attrgetter(name) for name in OF_ASSET}
    found |= {f"{name}_term": attrgetter(f"contributions.{name}") for name in TERMS}
    for place, flag in enumerate(windows):
        for name in OF_WINDOW:
            found[f"{flag}_{name}"] = _of_window(place, name)
            if flag == judged:
                found[name] = found[f"{flag}_{name}"]
    for exchange in list(Exchange)[1:]:
        for name in OF_EXCHANGE:
            found[f"{exchange.value}_{name}"] = _of_exchange(exchange.value, name)
    return found


def _of_window(place: int, name: str) -> Callable[[Published], float | None]:
    return lambda record: getattr(record.windows[place], name)


def _of_exchange(exchange: str, name: str) -> Callable[[Published], float | None]:
    return lambda record: getattr(record.exchanges[exchange], name) if exchange in record.exchanges else None


class Rule:
    """One rule. Raises RuleError for an expression that does not fit."""

    def __init__(self, expression: str, known: Figures) -> None:
        self._expression, self._known = expression, known
        self._node = _parse(expression, known)
        self._record: Published | None = None
        self._evaluator = SimpleEval(functions=FUNCTIONS, names=self._look_up)

    def met(self, record: Published) -> bool:
        """Whether it is met by the figures of a record."""
        self._record = record
        try:
            return bool(self._evaluator.eval(self._expression, previously_parsed=self._node))
        except (_NoData, ArithmeticError):
            return False
        finally:
            self._record = None

    def _look_up(self, node: ast.Name) -> float:
        assert self._record is not None
        value = self._known[node.id](self._record)
        if value is None:
            raise _NoData
        return float(value)


class Rules:
    """The custom rules of one asset."""

    def __init__(self, settings: RuleTree) -> None:
        known = settings.figures() if settings.rules else {}
        self._rules = [(Rule(rule.expression, known), LEVEL_RANKS[rule.level]) for rule in settings.rules]

    def met(self, record: Published) -> tuple[int, int]:
        """Those that a record meets, as bits, and the highest rank that they justify."""
        met, highest = 0, LEVEL_RANKS["NONE"]
        for number, (rule, rank) in enumerate(self._rules):
            if rule.met(record):
                met |= 1 << number
                highest = max(highest, rank)
        return met, highest


def _parse(expression: str, known: Figures) -> ast.expr:
    if len(expression) > EXPRESSION_CHARS_MAX:
        raise RuleError(f"it has {len(expression)} characters, at most {EXPRESSION_CHARS_MAX}")
    try:
        root = ast.parse(expression.strip(), mode="eval").body
    except SyntaxError as exc:
        raise RuleError(f"column {exc.offset or 1}: {exc.msg}") from exc
    except (ValueError, RecursionError, MemoryError) as exc:
        raise RuleError(f"it cannot be read: {exc or 'too deeply nested'}") from exc
    called = {id(node.func) for node in ast.walk(root) if isinstance(node, ast.Call)}
    nodes = [node for node in ast.walk(root) if isinstance(node, ast.expr)]
    if len(nodes) > NODES_MAX:
        raise RuleError(f"it has {len(nodes)} parts, at most {NODES_MAX}")
    for node in ast.walk(root):
        _check(node, known, is_called=id(node) in called)
    if not (
        isinstance(root, ast.Compare | ast.BoolOp) or (isinstance(root, ast.UnaryOp) and isinstance(root.op, ast.Not))
    ):
        raise RuleError("column 1: it must say yes or no, such as: events_per_s > 10")
    return root


def _check(node: ast.AST, known: Figures, *, is_called: bool) -> None:
    column = getattr(node, "col_offset", 0) + 1
    if not isinstance(node, ALLOWED):
        raise RuleError(f"column {column}: {type(node).__name__} is not allowed")
    if isinstance(node, ast.Constant):
        number = node.value
        if isinstance(number, bool) or not isinstance(number, int | float) or not abs(number) <= NUMBER_MAX:
            raise RuleError(f"column {column}: only numbers to {NUMBER_MAX:.0e} may stand here")
    elif isinstance(node, ast.Call):
        if not isinstance(node.func, ast.Name) or node.func.id not in FUNCTIONS or node.keywords or not node.args:
            raise RuleError(f"column {column}: only abs(), min() and max() of figures may be called")
        if (node.func.id == "abs") != (len(node.args) == 1):
            raise RuleError(
                f"column {column}: {node.func.id}() takes {'one' if node.func.id == 'abs' else 'two or more'}"
            )
    elif isinstance(node, ast.Name) and not is_called and node.id not in known:
        near = get_close_matches(node.id, known, 1)
        raise RuleError(
            f"column {column}: there is no figure {node.id!r}" + (f"; did you mean {near[0]}?" if near else "")
        )
