"""The views against an independent reading of the rules: equal to the cent, and reason by reason, on random firms."""

import pytest
from hypothesis import given

from abr import reconciliation_engine
from tests import firms, harness, reference_model


@pytest.fixture(scope="module")
def connection():
    with harness.fresh_database() as opened:
        yield opened


@harness.examples(1, at_least=50)
@given(firm=firms.firms())
def test_a_random_firm_gets_the_same_answers_from_the_views_and_from_the_model(connection, firm):
    harness.wipe(connection)
    store = reference_model.Store()
    store.load(firm)
    harness.receive(connection, firm)
    harness.run(connection)
    want = reference_model.reconcile(store, harness.AS_OF)
    assert harness.differences(harness.answers(connection), harness.expected(want)) == []


@pytest.mark.parametrize("_share", ["the first third", "the second", "the last"])  # so that each core has some of them
@harness.examples(0.17, at_least=2)
@given(history=firms.histories())
def test_a_history_of_loads_and_runs_ends_where_the_model_and_one_full_computation_end(connection, _share, history):
    harness.wipe(connection)
    store = reference_model.Store()
    for step in history:
        store.load(step["sources"], complete=step["complete"])
        harness.receive(connection, step["sources"], is_complete=step["complete"])
        if store.live("contracts") and store.live("time_logs"):
            harness.run(connection, step["as_of"])
    if not (store.live("contracts") and store.live("time_logs")):
        return
    want = reference_model.reconcile(store, history[-1]["as_of"])
    assert harness.differences(harness.answers(connection), harness.expected(want)) == []
    assert reconciliation_engine.verify(connection) == []
