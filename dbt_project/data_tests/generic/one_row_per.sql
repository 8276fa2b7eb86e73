{% test one_row_per(model, columns) %}
    {{ config(severity='error') }}
    select
        {{ columns | join(', ') }},
        count(*) as copies
    from {{ model }}
    group by all
    having count(*) > 1 or {% for column in columns %}{{ column }} is null{{ " or " if not loop.last }}{% endfor %}
{% endtest %}
