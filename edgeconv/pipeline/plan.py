"""Plans a run: for every step, whether its result is in the store, or why not. Pure; reads through two callables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from edgeconv.pipeline.keys import Ingredients, key_of, of_stage
from edgeconv.stage import Stage
from edgeconv.store import Record

ReasonKind = Literal[
    "cached", "first_run", "source_changed", "input_changed", "options_changed", "versions_changed", "revision_changed",
    "python_changed", "calibration_changed", "result_lost", "forced", "cascade",
]  # fmt: skip


@dataclass(frozen=True)
class Reason:
    """Why a step runs, or that it need not.

    Attributes:
        kind: one word for programs.
        details: what changed: options or versions as {name: [before, now]}, names of files.
    """

    kind: ReasonKind
    details: dict[str, Any] = field(default_factory=dict)

    def text(self) -> str:
        """The same for people."""
        changes = ", ".join(
            f"{name} {_shown(value[0])} → {_shown(value[1])}" if isinstance(value, list) and len(value) == 2 else name
            for name, value in self.details.items()
        )
        sentences = {
            "cached": "cached",
            "first_run": "never built before",
            "source_changed": f"the model changed ({changes})" if changes else "the model changed",
            "input_changed": "its input changed",
            "options_changed": f"option changed: {changes}",
            "versions_changed": f"version changed: {changes}",
            "revision_changed": "edgeconv's own stage changed",
            "python_changed": f"Python changed: {changes}",
            "calibration_changed": "the calibration set changed",
            "result_lost": "its result is no longer in the cache",
            "forced": "asked for with --force",
            "cascade": f"depends on what {changes} makes" if changes else "depends on the step before",
        }
        return sentences[self.kind]


@dataclass(frozen=True)
class Step:
    """One planned step.

    Attributes:
        name: of the stage.
        status: "cached": the result is there; "build": it must be made; "unknown": depends on a step that must run.
        reason: why.
        key: None while its input is not known.
        record: the stored result, if it is there.
        ingredients: what the key is made of; None while unknown.
    """

    name: str
    status: Literal["cached", "build", "unknown"]
    reason: Reason
    key: str | None = None
    record: Record | None = None
    ingredients: Ingredients | None = None


def plan(
    stages: Sequence[Stage],
    source_digest: str | None,
    find: Callable[[str], Record | None],
    before: Callable[[str], Ingredients | None],
    *,
    changed: Sequence[str] = (),
    force: bool = False,
) -> list[Step]:
    """Plan all steps.

    Args:
        stages: in order.
        source_digest: of the model; None where the model must be loaded first to know.
        find: looks a key up in the store.
        before: the ingredients of the last time that this model and target ran the stage.
        changed: names of the model's files that changed, for the reason.
        force: build everything anew.
    """
    steps: list[Step] = []
    digest = source_digest
    for position, stage in enumerate(stages):
        if digest is None:
            if force:
                reason = Reason("forced")
            elif position:
                reason = Reason("cascade", {steps[-1].name: None})
            elif before(stage.name) is None:
                reason = Reason("first_run")
            else:
                reason = Reason("source_changed", dict.fromkeys(changed))
            steps.append(Step(stage.name, "unknown" if position and not force else "build", reason))
            continue
        step = plan_one(stage, digest, find, before, changed=changed if position == 0 else (), force=force)
        steps.append(step)
        digest = step.record.blob.digest if step.status == "cached" and step.record else None
    return steps


def plan_one(
    stage: Stage,
    digest: str,
    find: Callable[[str], Record | None],
    before: Callable[[str], Ingredients | None],
    *,
    changed: Sequence[str] = (),
    force: bool = False,
) -> Step:
    """Plan one step whose input is known."""
    ingredients = of_stage(stage, digest)
    key = key_of(ingredients)
    record = None if force else find(key)
    if record is not None:
        return Step(stage.name, "cached", Reason("cached"), key, record, ingredients)
    reason = Reason("forced") if force else why(ingredients, before(stage.name), changed, "torch" in stage.consumes)
    return Step(stage.name, "build", reason, key, None, ingredients)


def why(now: Ingredients, before: Ingredients | None, changed: Sequence[str], is_source: bool) -> Reason:
    """The reason for a miss, by comparing with the last run. The nearest cause to the user's hand comes first."""
    if before is None:
        return Reason("first_run")
    if before["input"] != now["input"]:
        return Reason("source_changed", dict.fromkeys(changed)) if is_source else Reason("input_changed")
    for part, kind in (("options", "options_changed"), ("versions", "versions_changed")):
        if before[part] != now[part]:
            names = sorted(set(before[part]) | set(now[part]))
            pairs = {n: [before[part].get(n), now[part].get(n)] for n in names}
            return Reason(kind, {n: pair for n, pair in pairs.items() if pair[0] != pair[1]})  # type: ignore[arg-type]
    if before["python"] != now["python"]:
        return Reason("python_changed", {"python": [before["python"], now["python"]]})
    if before["calibration"] != now["calibration"]:
        return Reason("calibration_changed")
    if before["revision"] != now["revision"]:
        return Reason("revision_changed")
    return Reason("result_lost")


def _shown(value: Any) -> str:
    return "none" if value in (None, "") else str(value)
