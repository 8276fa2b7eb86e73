-- What must hold of the measures of any one message. The rates that cannot exceed 1 rest on it.
{{ config(severity='error') }}
-- depends_on: {{ ref('fct_messages') }}
select
    message_id,
    direction,
    channel_code,
    status
from {{ restated_rows('fct_messages') }} as outcomes
where
    messages_out + messages_in <> 1
    or messages_out <> (direction = 'OUTBOUND')::integer
    or least({{ var('measures') | map(attribute='name') | join(', ') }}) < 0
    or (
        messages_in = 1
        and sent + rejected + delivered + failed + dropped + opens + clicks + unsubscribed + complained > 0
    )
    or delivered + failed > messages_out
    or rejected + soft_bounced + hard_bounced + dropped > failed
    or delivered > sent_not_rejected
    or delivered_in_5_sec > delivered
    or sent_not_rejected <> sent * (1 - rejected)
    or suppressed > dropped
    or (channel_code = 'EMAIL' and sent + dropped <> accepted)
    or (channel_code <> 'EMAIL' and (accepted > 0 or sent <> messages_out))
    or opened_messages > opens
    or clicked_messages > distinct_urls
    or distinct_urls > clicks
    or (delivered_at is not null) <> (delivered = 1)
    or (seen_at is not null) <> (opens > 0)
    or (clicked_at is not null) <> (clicks > 0)
