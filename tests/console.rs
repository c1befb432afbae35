//! The console in a real browser.

mod browser;
mod files;
mod served;

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use browser::{Browser, View, WIDE};
use fastrand::Rng;
use files::Shop;
use files::processes::hosts;
use files::serving::{PATIENCE, service, shop_with_folder, stop};
use serde_json::json;
use served::{PEN, Served, order, pen};

const TAB: &str = "\u{e004}";
const ENTER: &str = "\u{e007}";

/// The pages, and what is there once a page shows what it has.
const PAGES: &[(&str, &str)] = &[
    ("shop", "document.querySelectorAll('.bars dd').length > 2 && document.querySelector('.heat td')"),
    ("job", "document.querySelectorAll('#page table tbody tr').length > 8 && document.getElementById('lateness')"),
    ("rejected", "document.querySelectorAll('#page tbody tr').length > 2"),
    ("tables/daily_sales", "document.querySelectorAll('#page .tall tbody tr').length > 1"),
    ("explain/customer_id/1", "document.querySelector('[aria-label^=Why] tbody tr')"),
];

/// Goes to a page and waits until it is there; what the former page showed does not count.
fn visit(browser: &Browser, served: &Served, page: &str, is_there: &str) {
    browser.go(&format!("{}/#/{page}", served.base));
    browser.wait("document.title.toLowerCase().startsWith(location.hash.slice(2).split('/')[0])");
    browser.wait(is_there);
}

/// Clicks a button by its words.
fn click(browser: &Browser, words: &str) {
    browser.wait(&format!(
        "[...document.querySelectorAll('button')].some((one) => one.textContent.startsWith('{words}'))"
    ));
    browser.eval(&format!(
        "[...document.querySelectorAll('button')].find((one) => one.textContent.startsWith('{words}')).click()"
    ));
}

fn all_tables() -> Vec<&'static str> {
    vec!["--tables", "all"]
}

#[test]
fn every_page_shows_what_there_is_on_every_screen() {
    let shop = Shop::generated("0.02");
    let served = Served::start(&shop, &[&all_tables()[..], &["--as-of", LAST_DAY]].concat());
    post_some_orders(&served, 1);
    let axe = std::env::var_os("MILLSTREAM_AXE").map(|path| fs::read_to_string(path).expect("axe-core"));
    if axe.is_none() {
        eprintln!("MILLSTREAM_AXE names no axe.min.js: accessibility is not checked");
    }
    let views = [390, 1440].into_iter().flat_map(|width| [false, true].map(|is_dark| View { width, is_dark }));
    for view in views {
        let Some(browser) = Browser::start(view) else { return stop_quietly(served) };
        for (page, is_there) in PAGES {
            visit(&browser, &served, page, is_there);
            if *page == "shop" {
                // What comes while one watches: who crosses into another tier, and unusual orders.
                post_some_orders(&served, (2 * view.width + u32::from(view.is_dark)).into());
                browser.wait("document.querySelectorAll('#page table').length >= 5");
            }
            browser.wait("document.getElementById('state').dataset.state === 'live'");
            let is_too_wide = "return document.documentElement.scrollWidth > innerWidth";
            assert_eq!(browser.eval(is_too_wide), false, "{page} {view:?}");
            let dark = browser.eval("return getComputedStyle(document.body).backgroundColor === 'rgb(15, 23, 22)'");
            assert_eq!(dark, view.is_dark, "{page}");
            if let Some(axe) = &axe {
                browser.eval(axe);
                let found = browser.eval_async(
                    "axe.run().then(({violations}) => done(violations.filter((one) => ['serious', 'critical']
                     .includes(one.impact)).map((one) => [one.id, one.nodes.map((node) => node.html).slice(0, 3)])))",
                );
                assert_eq!(found, json!([]), "{page} {view:?}");
            }
            save_screenshot(&browser, page, view);
        }
        let (complaints, requests) = browser.complaints_and_requests();
        assert_eq!(complaints, [""; 0], "{view:?}");
        let foreign: Vec<_> =
            requests.iter().filter(|url| !url.starts_with(&served.base) && !url.starts_with("data:")).collect();
        assert!(foreign.is_empty() && requests.len() > 20, "{foreign:?}");
    }
    stop_quietly(served);
}

/// The day after the last of a generated shop.
const LAST_DAY: &str = "1998-08-03";

/// Orders of the last day, in some epochs, of which some are rejected and some correct others.
fn post_some_orders(served: &Served, seed: u64) {
    let mut random = Rng::with_seed(seed);
    for epoch in 0..8 {
        let id =
            |random: &mut Rng| if random.u8(..4) == 0 { random.u64(1..100_000) } else { random.u64(1 << 40..1 << 41) };
        let mut row = || {
            let id = id(&mut random);
            order(id, random.u64(1..3_000), random.u64(1..4_000), LAST_DAY, random.u64(1..4))
        };
        let mut rows: Vec<_> = (0..40).map(|_| row()).collect();
        if epoch % 8 == 0 {
            rows.push(json!({"order_id": 7, "order_date": "soon", "quantity": 2}));
            rows.push(json!({"order_id": null, "order_date": LAST_DAY}));
        }
        served.post_json("orders", &json!(rows)).expect(200);
    }
}

/// Writes the pictures of the documentation, if that is asked for.
fn save_screenshot(browser: &Browser, page: &str, view: View) {
    let picture = browser.screenshot();
    assert!(picture.starts_with(b"\x89PNG"));
    let is_shown = matches!((page, view.width, view.is_dark), ("shop", _, false) | ("job", 1440, true));
    if is_shown && std::env::var_os("MILLSTREAM_WRITE_DOCS").is_some() {
        let page = page.split('/').next().expect("a name");
        let scheme = if view.is_dark { "-dark" } else { "" };
        let path = format!("{}/docs/console/{page}-{}{scheme}.png", env!("CARGO_MANIFEST_DIR"), view.width);
        fs::create_dir_all(Path::new(&path).parent().expect("a folder")).expect("a folder");
        fs::write(path, picture).expect("written");
    }
}

fn stop_quietly(served: Served) {
    drop(stop(served.running));
}

#[test]
fn a_page_says_that_the_service_is_gone_and_goes_on_when_it_is_back() {
    let shop = shop_with_folder();
    let address = hosts(1);
    let mut args = all_tables();
    args.extend(["--listen", &address]);
    let start = || Served::start_command(service(&shop, &args));
    let served = start();
    let Some(browser) = Browser::start(WIDE) else { return stop_quietly(served) };
    browser.go(&format!("{}/#/shop", served.base));
    let shows = |epoch: u64| browser.wait(&format!("document.getElementById('as-of')?.dataset.epoch >= {epoch}"));
    let posted = |served: &Served, id: u64| {
        served.post_json("orders", &json!([order(id, 1, 1, "2024-03-05", 1)])).expect(200).epoch()
    };
    shows(posted(&served, 700));
    let Served { mut running, .. } = served;
    running.kill();
    running.end();
    browser.wait("document.getElementById('state').dataset.state === 'gone'");
    let served = start();
    browser.wait("document.getElementById('state').dataset.state === 'live'");
    shows(posted(&served, 701));
    stop_quietly(served);
}

#[test]
fn a_page_is_there_while_the_shop_is_loaded_and_when_it_has_no_orders() {
    let shop = Shop::generated("0.02");
    let served = Served::start_loading(service(&shop, &["--listen", "127.0.0.1:0", "--as-of", "2024-12-31"]));
    let Some(browser) = Browser::start(WIDE) else { return stop_quietly(served) };
    browser.go(&format!("{}/#/shop", served.base));
    browser.wait("document.querySelectorAll('.bars dd').length > 2");
    stop_quietly(served);

    let shop = shop_with_folder();
    fs::write(shop.input().join("orders/00.csv"), "order_id,customer_id,product_id,order_date,quantity,discount\n")
        .expect("written");
    let served = Served::start(&shop, &[]);
    browser.go(&format!("{}/#/shop", served.base));
    browser.wait("document.body.innerText.includes('Nothing is sold yet')");
    for page in ["job", "rejected", "tables/product_sales", "explain/customer_id/1"] {
        browser.go(&format!("{}/#/{page}", served.base));
        browser.wait("!document.getElementById('page').innerText.includes('loading')");
    }
    let (complaints, _) = browser.complaints_and_requests();
    let expected = |complaint: &String| complaint.contains("503") || complaint.contains("net::ERR_");
    assert!(complaints.iter().all(expected), "{complaints:?}");
    stop_quietly(served);
}

/// Each of a million customers has one order.
#[test]
fn a_table_of_a_million_rows_is_paged_sorted_and_searched() {
    const CUSTOMERS: u64 = 1_000_000;
    let shop = shop_with_folder();
    let header = "order_id,customer_id,product_id,order_date,quantity,discount\n";
    let line = |id: u64| format!("{id},{id},{},2024-03-{:02},{},0\n", 1 + id % 4, 1 + id % 28, 1 + id * 7919 % 1000);
    let orders: String = std::iter::once(header.to_owned()).chain((1..=CUSTOMERS).map(line)).collect();
    let products: String = (1..=4).map(|id| format!("{id},Product {id},Category {id},{id}.5\n")).collect();
    let products = format!("product_id,product_name,category,price\n{products}");
    fs::write(shop.input().join("orders/00.csv"), orders).expect("written");
    fs::write(shop.input().join("products.csv"), products).expect("written");
    let tables = "daily_sales,product_sales,customer_patterns,rfm_analysis";
    let served = Served::start_loading(service(&shop, &["--listen", "127.0.0.1:0", "--tables", tables]));
    let Some(browser) = Browser::start(WIDE) else { return stop_quietly(served) };
    browser.go(&format!("{}/#/tables/customer_patterns", served.base));
    let started = Instant::now();
    while served.get("/readyz").status != 200 {
        assert!(started.elapsed() < 4 * PATIENCE, "a million orders are not loaded");
        thread::sleep(Duration::from_millis(200));
    }
    let rows = "document.querySelectorAll('#page .tall tbody tr').length";
    browser.wait(&format!("{rows} === 200"));
    assert!(
        browser
            .eval("return document.querySelector('nav [aria-current=true]').innerText")
            .to_string()
            .contains("1,000,000")
    );
    let first = "document.querySelector('#page .tall tbody td')?.textContent";
    click(&browser, "customer_id");
    click(&browser, "customer_id");
    browser.wait(&format!("{first} === '1000000'"));
    click(&browser, "More rows");
    browser.wait(&format!("{rows} === 400"));
    browser.eval("document.getElementById('key').value = '777777'");
    click(&browser, "Filter");
    browser.wait(&format!("{rows} === 1 && {first} === '777777'"));
    let needs_orders = |page: &str| page == "rejected" || page.starts_with("explain");
    for (page, is_there) in PAGES.iter().filter(|(page, _)| !needs_orders(page)) {
        visit(&browser, &served, page, is_there);
    }
    visit(&browser, &served, "explain/customer_id/777777", "document.querySelector('[aria-label=rfm_analysis] dd')");
    stop_quietly(served);
}

#[test]
fn with_the_keyboard_alone_one_gets_everywhere() {
    let shop = shop_with_folder();
    let served = Served::start(&shop, &[]);
    let Some(browser) = Browser::start(WIDE) else { return stop_quietly(served) };
    browser.go(&format!("{}/#/shop", served.base));
    browser.wait("document.querySelector('.heat td')");
    let focused = || browser.eval("return document.activeElement.textContent.trim()");
    browser.press(TAB);
    assert_eq!(focused(), "Skip to the content");
    browser.press(ENTER);
    assert_eq!(browser.eval("return [location.hash, document.activeElement.id]"), json!(["#/shop", "page"]));
    browser.eval("document.querySelector('.skip').focus()");
    browser.press(&TAB.repeat(3));
    assert_eq!(focused(), "Job");
    browser.press(ENTER);
    browser.wait("location.hash === '#/job' && document.getElementById('lateness')");
    // From the content back to the search, and on to what was searched for.
    browser.eval("document.getElementById('search-kind').focus()");
    browser.press(&format!("p{TAB}{}{ENTER}", 10));
    browser.wait("location.hash === '#/explain/product_id/10'");
    browser.wait("document.activeElement.id === 'page'");
    stop_quietly(served);
}

#[test]
fn a_token_is_asked_for_and_a_wrong_one_again() {
    let shop = shop_with_folder();
    let mut command = service(&shop, &["--listen", "127.0.0.1:0"]);
    command.env("MILLSTREAM_TOKEN", "secret");
    let served = Served::start_loading(command);
    let Some(browser) = Browser::start(WIDE) else { return stop_quietly(served) };
    browser.go(&format!("{}/", served.base));
    browser.wait("document.getElementById('token')?.open");
    browser.press(&format!("wrong{ENTER}"));
    browser.wait("document.getElementById('token')?.open && document.getElementById('token-text').value === ''");
    browser.press(&format!("secret{ENTER}"));
    browser.wait("document.querySelector('.heat td')");
    assert!(!browser.eval("return location.href").to_string().contains("secret"));
    stop_quietly(served);
}

#[test]
fn a_rejected_row_is_corrected_and_the_tables_are_verified() {
    let shop = shop_with_folder();
    let served = Served::start(&shop, &[]);
    let Some(browser) = Browser::start(WIDE) else { return stop_quietly(served) };
    served.post_json("products", &pen()).expect(200);
    served.post_with("rejected/drop", &[], b"").expect(200);
    let bad = json!({"order_id": 950, "customer_id": 5, "product_id": PEN, "order_date": "2024-03-0x", "quantity": 4});
    served.post_json("orders", &bad).expect(200);
    served.post_json("orders", &json!({"order_id": 960, "order_date": "never"})).expect(200);
    browser.go(&format!("{}/#/rejected", served.base));
    browser.wait("document.querySelectorAll('#page tbody tr').length === 2");
    click(&browser, "Correct");
    browser.wait("document.getElementById('correction')?.value.includes('2024-03-0x')");
    click(&browser, "Send");
    browser.wait("document.querySelector('dialog[open] [role=alert]')?.textContent.includes('is not a')");
    browser.eval("const text = document.getElementById('correction'); text.value = text.value.replace('0x', '09')");
    click(&browser, "Send");
    browser.wait("document.querySelector('#page [role=status]')?.textContent.includes('in all tables')");
    let day = served.get("/v1/tables/daily_sales?key=2024-03-09").json();
    assert_eq!(day["rows"][0]["daily_revenue"], 40.0, "{day}");
    // The corrected row is not listed any more; the other one is dropped.
    browser.wait("document.querySelectorAll('#page tbody tr').length === 1");
    browser.eval("window.confirm = () => true");
    browser.eval("[...document.querySelectorAll('button')].find((one) => one.textContent === 'Drop').click()");
    browser.wait("document.body.innerText.includes('No row is rejected')");
    served.post_json("orders", &bad).expect(200);
    browser.wait("document.querySelectorAll('#page tbody tr').length === 1");
    click(&browser, "Drop all");
    browser.wait("document.body.innerText.includes('No row is rejected')");

    browser.go(&format!("{}/#/job", served.base));
    click(&browser, "Verify now");
    browser.wait("document.getElementById('verified')?.textContent.includes('equals what is recomputed')");

    // What changes in a table is shown as it does, and the latest change is explained.
    browser.go(&format!("{}/#/tables/product_sales", served.base));
    browser.wait("document.getElementById('live')");
    browser.eval("document.getElementById('live').click()");
    thread::sleep(Duration::from_millis(300));
    served.post_json("orders", &json!([order(951, 5, PEN, "2024-03-09", 1)])).expect(200);
    browser.wait("document.querySelector('tr.plus') && document.querySelector('tr.minus')");
    browser.go(&format!("{}/#/explain/product_id/{PEN}", served.base));
    browser.wait("document.body.innerText.includes('50') && document.querySelector('ol.plain s')");
    stop_quietly(served);
}
