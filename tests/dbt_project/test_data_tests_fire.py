"""Each data test of the dbt project keeps still on good data and fires on what it is there for.

A fault is done to one table of a built warehouse, and undone. All tests that read the table are
run, so a fault also shows which tests it does not concern.
"""

from collections.abc import Iterator
from typing import NamedTuple

import duckdb
import pytest
from compiled import compiled_project
from small_world import built_warehouse


class Fault(NamedTuple):
    """What is done to a table, and the data tests that must name it."""

    table: str
    statement: str
    tests: str  # separated by blanks


def twice(table: str, test: str) -> Fault:
    """One of the table's rows stands there a second time."""
    return Fault(table, f"insert into {table} select * from {table} limit 1", test)


DAILY = "assert_daily_equals_sum_of_hourly"
MESSAGES = "assert_marts_agree_with_messages"
TOTALS = "assert_totals_agree_across_dimensions"
KEYS = "assert_every_mart_has_a_unique_key"

FAULTS = [
    # keys
    twice("reference.channels", "one_row_per_channels_channel_code"),
    twice("reference.countries", "one_row_per_countries_country_id"),
    twice("reference.networks", "one_row_per_networks_network_id"),
    twice("reference.statuses", "one_row_per_statuses_status"),
    twice("reference.error_codes", "one_row_per_error_codes_error_code"),
    twice("reference.event_types", "one_row_per_event_types_event_type"),
    twice("reference.drop_reasons", "one_row_per_drop_reasons_drop_reason"),
    twice("reference.traffic_types", "one_row_per_traffic_types_traffic_type"),
    twice("reference.sender_types", "one_row_per_sender_types_sender_type"),
    twice("reference.metrics", "one_row_per_metrics_metric"),
    twice("reference.dimensions", "one_row_per_dimensions_dimension"),
    twice("reference.metric_channels", "one_row_per_metric_channels_metric__channel_code"),
    twice("reference.time_buckets", "one_row_per_time_buckets_time_bucket"),
    twice("staging.stg_messages", "one_row_per_stg_messages_message_id"),
    twice("staging.stg_events", "one_row_per_stg_events_event_id"),
    twice("staging.stg_accounts", "one_row_per_stg_accounts_account_key"),
    twice("staging.stg_status_reports", "one_row_per_stg_status_reports_status_report"),
    twice("facts.int_events_by_message", "one_row_per_int_events_by_message_message_key"),
    twice("facts.int_interaction_openers", "one_row_per_int_interaction_openers_message_key"),
    Fault(
        "facts.fct_messages",
        "insert into facts.fct_messages select * from facts.fct_messages "
        "where message_id = 'late sms'",
        "one_row_per_fct_messages_message_id assert_restated_messages_stand_once",
    ),
    Fault(
        "facts.fct_url_clicks",
        "insert into facts.fct_url_clicks "
        "select * replace (0 as clicks, 0 as clicked_messages) from facts.fct_url_clicks limit 1",
        "one_row_per_fct_url_clicks_message_id__url",
    ),
    twice("marts.accounts", "one_row_per_accounts_account_key"),
    Fault(
        "marts.daily_by_country",
        "insert into marts.daily_by_country select * from marts.daily_by_country limit 1",
        f"{KEYS} {DAILY} {TOTALS}",
    ),
    Fault(
        "marts.hourly_by_channel",
        "update marts.hourly_by_channel set account_key = null where account_key = 'bank'",
        f"{KEYS} {DAILY} {MESSAGES} {TOTALS}",
    ),
    # codes and relations
    Fault(
        "staging.stg_messages",
        "update staging.stg_messages set direction = 'SIDEWAYS' where message_id = 'sms'",
        "accepted_values_stg_messages_direction__OUTBOUND__INBOUND",
    ),
    Fault(
        "staging.stg_messages",
        "update staging.stg_messages set channel_code = 'PIGEON' where message_id = 'sms'",
        "relationships_stg_messages_channel_code__channel_code__ref_channels_",
    ),
    Fault(
        "staging.stg_messages",
        "update staging.stg_messages set traffic_type = 'SMALL_TALK' where message_id = 'sms'",
        "relationships_stg_messages_traffic_type__traffic_type__ref_traffic_types_",
    ),
    Fault(
        "staging.stg_events",
        "update staging.stg_events set bounce_type = 'MEDIUM' where event_id = 'e1'",
        "accepted_values_stg_events_bounce_type__SOFT__HARD",
    ),
    Fault(
        "staging.stg_events",
        "update staging.stg_events set drop_reason = 'MOOD' where event_id = 'e7'",
        "relationships_stg_events_drop_reason__drop_reason__ref_drop_reasons_",
    ),
    Fault(
        "staging.stg_accounts",
        "update staging.stg_accounts set plan = 'gold' where account_key = 'shop'",
        "accepted_values_stg_accounts_plan__free__growth__scale",
    ),
    Fault(
        "facts.fct_messages",
        "update facts.fct_messages set status_group = 'LOST' where message_id = 'sms'",
        "accepted_values_fct_messages_status_group__PENDING__DELIVERED__UNDELIVERABLE__EXPIRED__"
        "REJECTED",
    ),
    Fault(
        "reference.traffic_types",
        "update reference.traffic_types set channel_code = 'PIGEON' "
        "where traffic_type = 'A2P_CONVERSATION'",
        "relationships_traffic_types_channel_code__channel_code__ref_channels_",
    ),
    Fault(
        "reference.metric_channels",
        "insert into reference.metric_channels values ('TOTAL_TRAFFIC_COUNT', 'PIGEON')",
        "relationships_metric_channels_channel_code__channel_code__ref_channels_",
    ),
    # agreement of layers
    Fault(
        "staging.stg_accounts",
        "delete from staging.stg_accounts where account_key = 'bank'",
        "assert_every_record_is_staged",
    ),
    Fault(
        "raw.events",
        "delete from raw.events where event_id = 'e8'",
        "assert_every_record_is_staged",
    ),
    Fault(
        "facts.fct_messages",
        "delete from facts.fct_messages where message_id = 'late sms'",
        "assert_every_message_has_an_outcome",
    ),
    Fault(
        "facts.fct_messages",
        "update facts.fct_messages set message_id = 'nobody''s' where message_id = 'late sms'",
        "assert_every_message_has_an_outcome",
    ),
    Fault(
        "facts.fct_messages",
        "update facts.fct_messages set delivered_in_5_sec = 1 where message_id = 'late sms'",
        "assert_outcomes_contradict_nothing",
    ),
    Fault(
        "facts.fct_messages",
        "update facts.fct_messages set sent = 1 where message_id = 'dropped email'",
        "assert_outcomes_contradict_nothing",
    ),
    Fault(
        "facts.fct_messages",
        "update facts.fct_messages set opens = 1, opened_messages = 1, seen_at = sent_at "
        "where message_id = 'question'",
        "assert_outcomes_contradict_nothing",
    ),
    Fault(
        "facts.fct_url_clicks",
        "delete from facts.fct_url_clicks where url = 'y'",
        "assert_url_clicks_agree_with_messages",
    ),
    Fault(
        "facts.fct_url_clicks",
        "update facts.fct_url_clicks set message_id = 'not here yet' where url = 'y'",
        "assert_url_clicks_agree_with_messages",
    ),
    Fault(  # totals cannot tell: it is the same day, account and channel
        "marts.daily_by_country",
        "update marts.daily_by_country set country_id = null where channel_code = 'EMAIL'",
        DAILY,
    ),
    Fault(
        "marts.daily_by_time_to_deliver",
        "update marts.daily_by_time_to_deliver set delivered = delivered + 1 "
        "where channel_code = 'EMAIL'",
        f"{DAILY} {TOTALS}",
    ),
    Fault(
        "marts.daily_by_url",
        "delete from marts.daily_by_url where url = 'x'",
        f"{DAILY} {TOTALS}",
    ),
    Fault(  # hours of one day
        "marts.hourly_by_sender",
        "update marts.hourly_by_sender set period_start = period_start - interval 1 hour "
        "where channel_code = 'EMAIL'",
        MESSAGES,
    ),
    Fault(
        "marts.minutely",
        "update marts.minutely set cost_cents_out = cost_cents_out + 0.000001 "
        "where channel_code = 'EMAIL'",
        MESSAGES,
    ),
    Fault(
        "marts.messages",
        "update marts.messages set status = 'PENDING_ACCEPTED' where message_id = 'late sms'",
        MESSAGES,
    ),
    Fault(
        "marts.url_clicks",
        "update marts.url_clicks set clicks = 7 where url = 'y'",
        f"{MESSAGES} {TOTALS}",
    ),
    # the catalogue
    Fault(
        "marts.daily_by_entity",
        "alter table marts.daily_by_entity drop column total_cost_cents",
        "assert_every_metric_is_implemented",
    ),
    Fault(
        "marts.hourly_by_url",
        "alter table marts.hourly_by_url add column total_click_rate double",
        "assert_every_metric_is_implemented",
    ),
    # what is told and stops nothing
    Fault(
        "raw.messages",
        "insert into raw.messages select * replace ('bank' as account_key) from raw.messages "
        "where message_id = 'late sms'",
        "assert_a_message_stays_with_its_account",
    ),
    Fault(
        "raw.messages",
        "insert into raw.messages select * replace ("
        "'bank' as account_key, sent_at + interval 1 hour as sent_at) from raw.messages "
        "where message_id = 'late sms'",
        "assert_a_message_stays_with_its_account",
    ),
    Fault(
        "staging.stg_events",
        "update staging.stg_events set message_id = 'question' where event_id = 'e3'",
        "assert_no_inbound_message_has_events",
    ),
    Fault(
        "marts.accounts",
        "update marts.accounts set parent_account_key = null where account_key = 'shop'",
        "assert_no_account_is_its_own_ancestor",
    ),
    Fault(
        "staging.stg_messages",
        "update staging.stg_messages set currency = 'EUR' where message_id = 'sms'",
        "assert_all_costs_are_in_one_currency",
    ),
    Fault(
        "staging.stg_messages",
        "update staging.stg_messages set country_id = 9999 where message_id = 'sms'",
        "assert_all_codes_are_known",
    ),
    Fault(
        "staging.stg_events",
        "update staging.stg_events set error_code = 'EC_UNHEARD_OF' where event_id = 'e1'",
        "assert_all_codes_are_known",
    ),
]


@pytest.fixture(scope="module")
def warehouse() -> Iterator[duckdb.DuckDBPyConnection]:
    with built_warehouse() as connection:
        yield connection


def firing(connection: duckdb.DuckDBPyConnection, table: str = "") -> set[str]:
    """Names of the data tests that return rows, of all or of those that read the table."""
    name = '"memory".' + ".".join(f'"{part}"' for part in table.split(".")) if table else ""
    return {
        test
        for test, select in compiled_project().data_tests.items()
        if name in select and connection.execute(select).fetchone()
    }


def test_no_data_test_fires_on_good_data(warehouse):
    assert firing(warehouse) == set()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.tests}: {fault.statement}")
def test_a_fault_is_named_by_its_tests_alone(warehouse, fault):
    warehouse.execute("begin")
    try:
        warehouse.execute(fault.statement)
        assert firing(warehouse, fault.table) == set(fault.tests.split())
    finally:
        warehouse.execute("rollback")


def test_every_data_test_is_seen_to_fire():
    fired = {test for fault in FAULTS for test in fault.tests.split()}
    assert fired == set(compiled_project().data_tests)
