{{ hourly_mart('account') }}
