"""How long admission took, as answers say it."""

from __future__ import annotations

import time
from typing import Any, cast

import pytest

from libs.auth.context import CallContext
from libs.auth.tokens import Principal
from libs.contracts import headers
from libs.rpc.guard import Arrival
from libs.testing.serving import KEY
from services.gateway.app.admit import Admission, Admit
from services.gateway.rpc.guard import AdmissionGuard
from services.gateway.tests.fakes import METHOD

KIM = Principal("kim", "acme", frozenset(), 0.0)


class Known:
    """A caller, as far as the guard looks at it."""

    principal = KIM


class SlowAdmit:
    """Takes as long as the test's clock says; of that it waited for another call's answer."""

    async def identify(self, *_: Any) -> Known:
        return Known()

    async def admit(self, *_: Any) -> Admission:
        context = CallContext("acme", "kim", "c", "r", "normal", 100.0)
        return Admission(KIM, context, charged=False, waited_s=5.0)


async def test_reading_and_waiting_are_not_admission(monkeypatch: pytest.MonkeyPatch) -> None:
    """Identity and admission count; what lies between them, and the wait for another call's answer, do not."""
    moments = iter([0.0, 1.0, 10.0, 17.0])
    guard = AdmissionGuard(cast(Admit, SlowAdmit()), KEY)
    arrival = Arrival(METHOD, {}, 100.0)
    monkeypatch.setattr(time, "perf_counter", lambda: next(moments))
    await guard.identify(arrival)
    await guard.admit(arrival)
    monkeypatch.undo()
    assert arrival.answer_headers == [(headers.ADMISSION_US, "3000000")]
