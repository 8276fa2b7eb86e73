{{ hourly_mart('time_to_click_from_delivered') }}
