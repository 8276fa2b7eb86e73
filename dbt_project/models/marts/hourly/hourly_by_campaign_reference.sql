{{ hourly_mart('campaign_reference') }}
