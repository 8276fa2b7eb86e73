{{ daily_mart('application') }}
