{{ daily_mart('entity') }}
