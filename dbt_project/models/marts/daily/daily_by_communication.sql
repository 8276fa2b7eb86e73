{{ daily_mart('communication') }}
