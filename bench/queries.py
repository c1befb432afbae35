"""Checks thirty queries of the live tables against DuckDB, which has what a run wrote of the same shop, and times both.

usage: queries.py postgresql://127.0.0.1:5433/shop OUTPUT_DIR [--rounds 5] [--threads 1] [--json FILE]

The service has loaded the shop, and nothing has changed since:

    millstream run   --input SHOP --output OUTPUT_DIR --as-of 2024-06-01
    millstream serve --input SHOP --output OTHER_DIR --as-of 2024-06-01 --postgres 127.0.0.1:5433 ...

DuckDB holds the tables in memory and has one thread, since the service runs a query on one core. Both are called from
Python in turn and return all rows; the times are medians. Doubles must agree to nine digits, since sums of doubles depend
on their order; everything else must be equal.

needs: pip install duckdb "psycopg[binary]"
"""
import argparse, json, math, statistics, sys, time
import duckdb, psycopg

TABLES = ["customer_patterns", "customer_product_matrix", "product_sales", "daily_sales", "rfm_analysis", "cohort_analysis"]

# Where rows have an order, it is a total one.
QUERIES = {
    "count": "select count(*) from product_sales",
    "sums": "select count(*), sum(total_quantity), min(total_revenue), max(total_revenue), sum(unique_customers) from product_sales",
    "filter": "select count(*), sum(total_spent) from customer_patterns where total_orders > 50 and last_purchase >= date '1998-01-01'",
    "tiers": "select customer_tier, count(*), sum(total_orders), avg(total_spent) from customer_patterns group by customer_tier",
    "categories": "select category, sum(total_revenue), count(*) from product_sales group by category order by category",
    "having": "select category, count(*) as products from product_sales group by category having count(*) > 8000 order by 1",
    "top products": "select product_id, total_revenue from product_sales order by total_revenue desc nulls last, product_id limit 100",
    "top customers": "select customer_id, total_spent, total_orders from customer_patterns where customer_id is not null order by total_spent desc nulls last, customer_id limit 10",
    "second page": "select product_id, total_quantity from product_sales order by total_quantity desc, product_id limit 50 offset 1000",
    "a key": "select * from customer_patterns where customer_id = 4711",
    "keys": "select customer_id, rank, product_id, total_amount from customer_product_matrix where customer_id in (1, 4, 7, 100, 99999) order by customer_id, rank",
    "a range of keys": "select count(*), sum(frequency) from rfm_analysis where customer_id between 20000 and 30000",
    "text": "select upper(category), max(length(product_name)), count(*) from product_sales where product_name like '%green%' group by upper(category) order by 1",
    "distinct": "select count(distinct category), count(distinct product_name), count(distinct total_quantity) from product_sales",
    "buckets": "select case when recency < 30 then 'active' when recency < 365 then 'resting' else 'gone' end as state, count(*), avg(monetary) from rfm_analysis group by 1 order by 1",
    "histogram": "select frequency - frequency % 10 as tens, count(*) from rfm_analysis group by 1 order by 1",
    "months": "select extract(year from order_date) as year, extract(month from order_date) as month, sum(daily_revenue), max(daily_customers) from daily_sales group by 1, 2 order by 1, 2",
    "weekdays": "select extract(dow from order_date) as weekday, avg(daily_revenue), count(*) from daily_sales group by 1 order by 1",
    "running total": "select order_date, sum(daily_revenue) over (order by order_date) from daily_sales order by order_date",
    "moving average": "select order_date, avg(daily_revenue) over (order by order_date rows between 6 preceding and current row) from daily_sales order by order_date",
    "day before": "select order_date, daily_customers - lag(daily_customers) over (order by order_date) as more from daily_sales order by order_date",
    "best of each": "select category, product_id, place from (select category, product_id, row_number() over (partition by category order by total_revenue desc nulls last, product_id) as place from product_sales) as ranked where place <= 3 order by category nulls last, place",
    "quintiles": "select fifth, count(*), min(monetary), max(monetary) from (select monetary, ntile(5) over (order by monetary, customer_id) as fifth from rfm_analysis where monetary is not null) as parts group by fifth order by fifth",
    "median": "select percentile_cont(0.5) within group (order by total_spent) from customer_patterns where total_spent is not null",
    "percentiles": "select customer_tier, percentile_cont(0.9) within group (order by total_orders) from customer_patterns where customer_tier is not null group by customer_tier order by 1",
    "join": "select p.customer_tier, count(*), sum(r.monetary), avg(r.recency) from customer_patterns p join rfm_analysis r on p.customer_id = r.customer_id group by 1 order by 1 nulls last",
    "join of many": "select s.category, count(*), sum(m.total_amount) from customer_product_matrix m join product_sales s on m.product_id = s.product_id where m.rank = 1 group by 1 order by 1 nulls last",
    "not exists": "select count(*) from product_sales s where not exists (select 1 from customer_product_matrix m where m.product_id = s.product_id)",
    "subqueries": "select count(*), sum(total_quantity) from product_sales where total_revenue > (select avg(total_revenue) from product_sales) and product_id in (select product_id from customer_product_matrix where rank <= 2)",
    "with, union": "with big as (select customer_id, total_spent as spent from customer_patterns where total_orders > 100), late as (select customer_id, monetary as spent from rfm_analysis where recency < 10) select count(*), count(distinct customer_id), max(spent) from (select * from big union all select * from late) as both_of_them",
}


def differ(ours, theirs):
    """What differs of two values; None if they agree."""
    if isinstance(ours, float) or isinstance(theirs, float):
        if ours is not None and theirs is not None and math.isclose(ours, theirs, rel_tol=1e-9):
            return None
    return None if ours == theirs else f"{ours!r}, DuckDB {theirs!r}"


def differences(ours, theirs, is_ordered):
    if len(ours) != len(theirs):
        return [f"{len(ours)} rows, DuckDB {len(theirs)}"]
    if not is_ordered:
        ours, theirs = sorted(ours, key=str), sorted(theirs, key=str)
    pairs = ((column, differ(a, b)) for one, other in zip(ours, theirs) for column, (a, b) in enumerate(zip(one, other)))
    return [f"column {column + 1}: {found}" for column, found in pairs if found]


def timed(ask):
    begun = time.perf_counter()
    rows = ask()
    return (time.perf_counter() - begun) * 1000, [tuple(row) for row in rows]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("output")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1, help="of DuckDB")
    parser.add_argument("--json")
    args = parser.parse_args()
    files = duckdb.connect()
    files.execute(f"set threads = {args.threads}")
    for table in TABLES:
        files.execute(f"create table {table} as from read_parquet('{args.output}/{table}/**/*.parquet')")
    service = psycopg.connect(args.url, autocommit=True, prepare_threshold=None)
    measured, wrong = [], 0
    print("| query | rows | millstream ms | DuckDB ms |\n| --- | ---: | ---: | ---: |")
    for name, query in QUERIES.items():
        took = ([], [])
        for _ in range(args.rounds):
            mine, ours = timed(lambda: service.execute(query).fetchall())
            other, theirs = timed(lambda: files.execute(query).fetchall())
            took[0].append(mine)
            took[1].append(other)
        ours_ms, theirs_ms = map(statistics.median, took)
        print(f"| {name} | {len(ours):,} | {ours_ms:.1f} | {theirs_ms:.1f} |")
        measured.append({"query": name, "rows": len(ours), "millstream_ms": ours_ms, "duckdb_ms": theirs_ms})
        for found in differences(ours, theirs, "order by" in query.rsplit(")", 1)[-1])[:5]:
            wrong += 1
            print(f"{name}: {found}", file=sys.stderr)
    if args.json:
        with open(args.json, "w") as file:
            json.dump(measured, file, indent=1)
    sys.exit(f"{wrong} differences" if wrong else 0)


if __name__ == "__main__":
    main()
