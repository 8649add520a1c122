"""The decision point: questions answered by the same engine, policies and facts that decide in the app's own routes."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from seawall.access.authzen.directory import SCAN_ROWS_MAX, Directory
from seawall.access.authzen.questions import Batch, Page, Question, token_of
from seawall.access.engine import Allow, Engine, NeedsApproval, Ruling, StepUp, Verdict
from seawall.access.may import Requirement
from seawall.access.values import Unconvertible
from seawall.core.errors import Refused
from seawall.core.scope import Principal

Answer = dict[str, Any]
DENIED: Answer = {"decision": False}


class DecisionPoint:
    """Answers about one directory. Whoever asks may ask: that was decided before."""

    def __init__(self, engine: Engine, directory: Directory) -> None:
        self._engine, self._directory = engine, directory

    async def evaluation(self, question: Question) -> Answer:
        """One answer. What does not exist is denied like everything else, so that asking tells nobody what does."""
        subject = await self._directory.subject(question.subject.type, question.subject.id)
        if subject is None:
            return dict(DENIED)
        instance = await self._directory.resource(question.resource.type, question.resource.id)
        return await self._answer(subject, question, instance)

    async def evaluations(self, batch: Batch) -> Answer:
        """All answers, or those up to the one that settles it."""
        answers: list[Answer] = []
        for one in batch.questions:
            answer = malformed(one) if isinstance(one, str) else await self.evaluation(one)
            answers.append(answer)
            if batch.semantic == "deny_on_first_deny" and not answer["decision"]:
                break
            if batch.semantic == "permit_on_first_permit" and answer["decision"]:
                break
        return {"evaluations": answers}

    async def subjects(self, question: Question, page: Page) -> Answer:
        """Who may do this to that."""
        instance = await self._directory.resource(question.resource.type, question.resource.id)
        found: list[Answer] = []
        if instance is not None:
            for subject in await self._directory.subjects(question.subject.type):
                name = str(subject.user_id)
                if name <= page.after:
                    continue
                if len(found) == page.limit:
                    return _paged(found, token_of(found[-1]["id"]))
                if (await self._answer(subject, question, instance))["decision"]:
                    found.append({"type": question.subject.type, "id": name})
        return _paged(found)

    async def resources(self, question: Question, page: Page) -> Answer:
        """What this subject may do that to. A scan that reached its bound goes on with the next page."""
        subject = await self._directory.subject(question.subject.type, question.subject.id)
        if subject is None:
            return _paged([])
        found: list[Answer] = []
        last, seen = "", 0
        async for name, instance in self._directory.resources(question.resource.type, page.after):
            if len(found) == page.limit:
                return _paged(found, token_of(last))
            last, seen = name, seen + 1
            if (await self._answer(subject, question, instance))["decision"]:
                found.append({"type": question.resource.type, "id": name})
        return _paged(found, token_of(last) if seen >= SCAN_ROWS_MAX else "")

    async def actions(self, question: Question, page: Page) -> Answer:
        """What this subject may do to that."""
        subject = await self._directory.subject(question.subject.type, question.subject.id)
        instance = await self._directory.resource(question.resource.type, question.resource.id)
        model = self._directory.model(question.resource.type)
        found: list[Answer] = []
        if subject is not None and instance is not None and model is not None:
            for name in sorted(self._engine.schema.actions):
                if name <= page.after or not self._engine.applies(model, name):
                    continue
                if len(found) == page.limit:
                    return _paged(found, token_of(found[-1]["name"]))
                asked = Question(question.subject, name, question.resource, question.context)
                if (await self._answer(subject, asked, instance))["decision"]:
                    found.append({"name": name})
        return _paged(found)

    async def _answer(self, subject: Principal, question: Question, instance: Any | None) -> Answer:
        model = self._directory.model(question.resource.type)
        if model is None or not self._engine.applies(model, question.action):
            return dict(DENIED)
        try:
            ruling = self._engine.ruling(model, question.action)
        except Refused:
            return dict(DENIED)  # no route uses it, and no column fills what its policies would read
        requirement = self._directory.requirement(model, question.action)
        claimed = _claimed(ruling, requirement, question)
        if claimed is None:  # said of what is not there as well, so that it tells nobody what is
            return {**DENIED, "context": {"reason": "context-incomplete"}}
        if instance is None:
            return dict(DENIED)
        body, extra = claimed
        if requirement is not None:
            try:
                known = await self._directory.facts(requirement, instance, body, subject)
                extra |= ruling.context.facts(known, body)
            except Unconvertible:
                return dict(DENIED)
        return _said(self._engine.decide(subject, ruling, instance, extra))


def _claimed(ruling: Ruling, requirement: Requirement | None, question: Question) -> tuple[Any, dict[str, Any]] | None:
    """The body that the request of this question would have, and what that claims; None when it says too little.

    What the server finds out is never taken from it.
    """
    if requirement is None:
        return (None, {}) if ruling.context.complete else None
    try:
        body = None if requirement.body is None else requirement.body.model_validate(dict(question.context))
        return body, ruling.context.claims(body)
    except (ValidationError, Unconvertible):
        return None


def malformed(why: str) -> Answer:
    """The answer to a question of a batch that cannot be understood."""
    return {**DENIED, "context": {"error": {"status": 400, "message": why}}}


def _said(verdict: Verdict) -> Answer:
    if isinstance(verdict, Allow):
        return {"decision": True}
    if isinstance(verdict, StepUp):
        # RFC 9470's words, for a program that can bring somebody to prove a factor
        obligation = verdict.obligation
        context = {"reason": "step-up", "acr_values": obligation.acr, "max_age": obligation.max_age_s}
        return {**DENIED, "context": context}
    if isinstance(verdict, NeedsApproval):
        return {**DENIED, "context": {"reason": "needs-approval", "roles": sorted(verdict.obligation.roles)}}
    return dict(DENIED)


def _paged(found: list[Answer], token: str = "") -> Answer:
    return {"results": found, "page": {"next_token": token, "count": len(found)}}
