//! The demo shop: its committed snapshot is what its committed sources give, and a shop that keeps the laws.
use holdfast::{
    cli::demo::{self, ATTRIBUTION, articles, goods::Table},
    domain::variant::{Settings, Variant},
    storage::{
        dto,
        snapshot::{EntityKind, Entry, Item, SnapshotReader},
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

#[test]
fn the_committed_snapshot_is_what_its_sources_give() {
    let folder = TempDir::new().unwrap();
    let rebuilt = folder.path().join("demo.holdfast");
    demo::build(
        &file("tests/data/articles.csv"),
        &file("snapshots/demo-goods.toml"),
        &rebuilt,
    )
    .unwrap();
    assert!(
        fs::read(&rebuilt).unwrap() == demo::SNAPSHOT,
        "snapshots/demo.holdfast is not what its sources give. If sources, stored format or zstd have changed, build it \
         again: holdfast demo build --articles tests/data/articles.csv --goods snapshots/demo-goods.toml --out \
         snapshots/demo.holdfast"
    );
}

#[test]
fn the_committed_snapshot_is_a_shop_that_keeps_the_laws() {
    let summary = shop().verify().unwrap();
    assert!(summary.bytes < 1_000_000, "{} bytes", summary.bytes);
    let mut reader = shop();
    let manifest = reader.manifest().clone();
    assert_eq!(manifest.attribution, [ATTRIBUTION]);

    let mut variants = Vec::new();
    let mut first_stock = BTreeMap::new();
    for item in reader.by_ref() {
        let Item::Entity(entry) = item.unwrap() else {
            panic!("the demo shop has no log tail")
        };
        match entry.kind {
            EntityKind::VARIANT => variants.push(variant_of(&entry)),
            EntityKind::LEDGER => {
                let line = dto::decode_ledger_entry(&entry.state).unwrap();
                assert_eq!((line.before, line.seq), (0, 1));
                first_stock.insert(entry.id[..4].to_vec(), line.after);
            }
            kind => panic!("{kind:?} in the demo shop"),
        }
    }
    for (variant, ordinal) in variants.iter().zip(0_u32..) {
        variant.recount().unwrap();
        let head = variant.head();
        assert_eq!((head.ordinal.0, head.version, variant.held()), (ordinal, 1, 0));
        assert_eq!(
            first_stock[&ordinal.to_be_bytes()[..]],
            head.on_hand,
            "the ledger tells of every unit"
        );
        assert!(head.on_hand > 0 && !head.settings.tags.is_empty(), "{}", head.id);
        assert!(
            head.settings.price.is_some_and(|price| price.amount > 0),
            "{}",
            head.id
        );
    }
    let on_hand: u64 = variants.iter().map(|variant| variant.head().on_hand).sum();
    assert_eq!(manifest.totals["onHand"], on_hand);
    assert_eq!(manifest.position, variants.len() as u64);
    let ids: BTreeSet<&str> = variants
        .iter()
        .map(|variant| variant.head().id.as_str())
        .collect();
    assert_eq!(ids.len(), variants.len(), "an id is there twice");
    let articles = ids.iter().filter(|id| id.len() >= 5).count();
    assert!(
        articles >= 3000 && variants.len() - articles >= 42,
        "{articles} of {}",
        variants.len()
    );
}

#[test]
fn the_goods_of_the_documents_are_as_they_say() {
    let variants = variants();
    let expect = |id: &str, product: &str, name: &str, category: &str, cents: i64, tags: [&str; 3]| {
        let variant = variants
            .iter()
            .find(|variant| variant.head().id.as_str() == id)
            .unwrap();
        let Settings {
            product_id,
            name: called,
            category: shelf,
            price,
            tags: tagged,
            ..
        } = &variant.head().settings;
        assert_eq!(
            (product_id.as_deref(), called.as_deref()),
            (Some(product), Some(name))
        );
        assert_eq!(shelf.as_deref(), Some(category));
        let price = price.unwrap();
        assert_eq!((price.amount, price.currency.as_str()), (cents, "USD"));
        assert_eq!(*tagged, tags);
    };
    let (soap, spice) = ("Premium Aleppo Laurel Soap Set", "Damascus Seven Spice Mix");
    expect(
        "123",
        "45",
        soap,
        "Beauty & Wellness",
        2599,
        ["organic", "traditional", "unesco"],
    );
    expect(
        "156",
        "67",
        spice,
        "Food & Spices",
        899,
        ["halal", "authentic", "ramadan"],
    );
}

#[test]
fn the_market_has_all_its_shelves_regions_and_seasons() {
    let table = Table::parse(&fs::read_to_string(file("snapshots/demo-goods.toml")).unwrap()).unwrap();
    let shelves: BTreeSet<&str> = table.goods.iter().map(|good| good.category.as_str()).collect();
    let expected = [
        "Beauty & Wellness",
        "Coffee",
        "Dates",
        "Food & Spices",
        "Gift Sets",
        "Handicrafts",
        "Nuts & Dried Fruit",
        "Olive Products",
        "Perfumes",
        "Sweets",
        "Tea",
        "Textiles",
    ];
    assert_eq!(shelves, expected.into());
    let tags: BTreeSet<&str> = table
        .goods
        .iter()
        .flat_map(|good| &good.tags)
        .map(String::as_str)
        .collect();
    for tag in [
        "aleppo", "damascus", "homs", "hama", "latakia", "ramadan", "eid", "winter", "summer", "harvest",
    ] {
        assert!(tags.contains(tag), "nothing is tagged {tag}");
    }
    // Ids of the other half of the shop are stock codes of five digits.
    assert!(table.goods.iter().all(|good| good.id.len() < 5));
    assert!(
        table
            .goods
            .iter()
            .all(|good| good.attributes.contains_key("origin"))
    );
}

#[test]
fn the_list_of_articles_stays_small_and_reads_back_as_it_was_written() {
    let list = fs::read(file("tests/data/articles.csv")).unwrap();
    assert!(list.len() <= 300_000, "{} bytes", list.len());
    let articles = articles::read(&list[..]).unwrap();
    let mut again = Vec::new();
    articles::write(&articles, &mut again).unwrap();
    assert!(again == list);
    let codes: Vec<&str> = articles.iter().map(|article| article.code.as_str()).collect();
    assert!(codes.is_sorted());
    assert!(
        codes
            .iter()
            .all(|code| code[..5].bytes().all(|byte| byte.is_ascii_digit()))
    );
}

fn variants() -> Vec<Variant> {
    let items = shop().map(Result::unwrap);
    let variants = items.filter_map(|item| match item {
        Item::Entity(entry) if entry.kind == EntityKind::VARIANT => Some(variant_of(&entry)),
        Item::Entity(_) | Item::Record(_) => None,
    });
    variants.collect()
}

fn variant_of(entry: &Entry) -> Variant {
    let variant = dto::decode_variant(&entry.state).unwrap();
    let ordinal = variant.head().ordinal.0;
    assert_eq!(entry.id, ordinal.to_be_bytes());
    assert_eq!(entry.number, u64::from(ordinal) + 1);
    variant
}

/// The committed file as it is in the binary.
fn shop() -> SnapshotReader {
    SnapshotReader::from_bytes(Path::new("demo.holdfast"), demo::SNAPSHOT).unwrap()
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}
