{{ daily_mart('error_group') }}
