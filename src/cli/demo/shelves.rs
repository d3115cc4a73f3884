//! Where an article stands in the shop: category and tags from the words of its name, stock from its sales. The data
//! set has none of them; these are plausible, not true.
use super::articles::Article;

/// Shelves in the order in which they claim an article; each also gives its tag to articles that stand elsewhere.
const SHELVES: &[Shelf] = &[
    Shelf {
        category: "Christmas & Seasonal",
        tag: "christmas",
        words: &[
            "advent",
            "bauble",
            "baubles",
            "christmas",
            "holly",
            "mistletoe",
            "nativity",
            "noel",
            "reindeer",
            "rudolph",
            "santa",
            "snowflake",
            "snowflakes",
            "snowman",
            "snowmen",
            "stocking",
            "yuletide",
        ],
    },
    Shelf {
        category: "Jewellery & Accessories",
        tag: "jewellery",
        words: &[
            "bangle",
            "bracelet",
            "brooch",
            "choker",
            "earring",
            "earrings",
            "hairband",
            "hairclip",
            "hairslide",
            "jewel",
            "jewellery",
            "necklace",
            "necklaces",
            "pendant",
            "ring",
            "scarf",
            "sunglasses",
            "tiara",
        ],
    },
    Shelf {
        category: "Toys & Games",
        tag: "toys",
        words: &[
            "backgammon",
            "ball",
            "blocks",
            "bouncy",
            "dinosaur",
            "doll",
            "dolls",
            "domino",
            "dominoes",
            "games",
            "jigsaw",
            "kite",
            "marbles",
            "playhouse",
            "puppet",
            "puppets",
            "puzzle",
            "puzzles",
            "skipping",
            "skittles",
            "spinning",
            "toy",
            "toys",
            "yoyo",
        ],
    },
    Shelf {
        category: "Stationery & Cards",
        tag: "stationery",
        words: &[
            "album",
            "bookmark",
            "calendar",
            "card",
            "cards",
            "chalk",
            "diary",
            "envelope",
            "eraser",
            "erasers",
            "memo",
            "notebook",
            "notebooks",
            "organiser",
            "passport",
            "pen",
            "pencil",
            "pencils",
            "ruler",
            "sharpener",
            "sketchbook",
            "stamp",
            "stamps",
            "sticker",
            "stickers",
            "stationery",
        ],
    },
    Shelf {
        category: "Bags & Purses",
        tag: "bags",
        words: &[
            "backpack", "bag", "bags", "handbag", "luggage", "purse", "purses", "rucksack", "shopper",
            "suitcase", "wallet", "washbag",
        ],
    },
    Shelf {
        category: "Party & Gift Wrap",
        tag: "gift",
        words: &[
            "balloon",
            "balloons",
            "birthday",
            "bunting",
            "confetti",
            "cracker",
            "crackers",
            "gift",
            "party",
            "ribbon",
            "ribbons",
            "streamers",
            "tags",
            "tissue",
            "wrap",
        ],
    },
    Shelf {
        category: "Lighting & Candles",
        tag: "lighting",
        words: &[
            "candelabra",
            "candle",
            "candleholder",
            "candles",
            "candlestick",
            "chandelier",
            "lamp",
            "lampshade",
            "lantern",
            "lanterns",
            "light",
            "lights",
            "t-light",
            "t-lights",
            "torch",
        ],
    },
    Shelf {
        category: "Kitchen & Dining",
        tag: "kitchen",
        words: &[
            "apron",
            "bake",
            "baking",
            "beaker",
            "biscuit",
            "bottle",
            "bowl",
            "bowls",
            "breakfast",
            "butter",
            "cake",
            "cakes",
            "cakestand",
            "chopsticks",
            "coaster",
            "coasters",
            "coffee",
            "cosy",
            "cup",
            "cups",
            "cutlery",
            "dish",
            "egg",
            "food",
            "fork",
            "fridge",
            "fruit",
            "jam",
            "jar",
            "jars",
            "jelly",
            "jug",
            "kitchen",
            "lunch",
            "measuring",
            "milk",
            "mould",
            "moulds",
            "mug",
            "mugs",
            "napkin",
            "napkins",
            "oven",
            "pan",
            "pantry",
            "picnic",
            "placemat",
            "placemats",
            "plate",
            "plates",
            "popcorn",
            "recipe",
            "saucer",
            "snack",
            "spice",
            "spoon",
            "spoons",
            "sugar",
            "tea",
            "teapot",
            "teaspoons",
            "tray",
            "tumbler",
            "whisk",
        ],
    },
    Shelf {
        category: "Garden & Outdoors",
        tag: "garden",
        words: &[
            "beach",
            "birdhouse",
            "bulb",
            "camping",
            "garden",
            "gardener",
            "gardeners",
            "gnome",
            "hammock",
            "herb",
            "parasol",
            "planter",
            "planters",
            "pots",
            "potting",
            "raincoat",
            "rain",
            "seeds",
            "shed",
            "thermometer",
            "trellis",
            "trowel",
            "umbrella",
            "watering",
            "wheelbarrow",
            "windmill",
            "wind",
        ],
    },
    Shelf {
        category: "Bath & Wellness",
        tag: "bath",
        words: &[
            "balm", "bath", "bathroom", "flannel", "hottie", "incense", "lotion", "manicure", "massager",
            "nail", "plasters", "pourri", "scented", "shower", "soap", "soaps", "sponge", "towel", "towels",
        ],
    },
    Shelf {
        category: "Craft & Hobby",
        tag: "craft",
        words: &[
            "craft",
            "crochet",
            "fabric",
            "feltcraft",
            "knitting",
            "knitted",
            "origami",
            "patches",
            "sew",
            "sewing",
            "thimble",
            "wool",
        ],
    },
    Shelf {
        category: "Home Textiles",
        tag: "textiles",
        words: &[
            "blanket",
            "curtain",
            "cushion",
            "doormat",
            "filler",
            "quilt",
            "quilted",
            "rug",
            "throw",
            "tablecloth",
        ],
    },
    Shelf {
        category: "Storage & Organising",
        tag: "storage",
        words: &[
            "basket",
            "bin",
            "box",
            "boxes",
            "bucket",
            "cabinet",
            "chest",
            "chests",
            "container",
            "crate",
            "drawer",
            "hanger",
            "hook",
            "hooks",
            "rack",
            "shelf",
            "storage",
            "tidy",
            "tin",
            "tins",
            "trinket",
        ],
    },
];

/// Where everything else stands.
const ELSEWHERE: (&str, &str) = ("Home & Decor", "home");

/// Tags that make no shelf of their own.
const TAGS: &[(&str, &[&str])] = &[
    (
        "home",
        &[
            "clock",
            "decoration",
            "door",
            "frame",
            "home",
            "house",
            "knob",
            "mirror",
            "photo",
            "sign",
            "wall",
        ],
    ),
    (
        "kids",
        &[
            "baby",
            "boy",
            "boys",
            "child's",
            "children's",
            "childs",
            "fairy",
            "girl",
            "girls",
            "kids",
            "spaceboy",
        ],
    ),
    ("easter", &["bunny", "chick", "chicks", "easter", "hen", "rabbit"]),
    ("halloween", &["ghost", "halloween", "pumpkin", "spider", "witch"]),
    ("valentine", &["cupid", "love", "sweetheart", "valentine"]),
    ("wedding", &["bride", "bridal", "wedding"]),
    (
        "vintage",
        &["antique", "edwardian", "regency", "retro", "victorian", "vintage"],
    ),
    ("pets", &["cat", "cats", "dog", "dogs", "kitten", "puppy"]),
    ("travel", &["luggage", "passport", "travel", "suitcase"]),
    ("wood", &["wood", "wooden", "wicker"]),
    ("glass", &["glass"]),
    ("ceramic", &["ceramic", "porcelain"]),
];

/// Tags of one article at most.
const TAGS_MAX: usize = 6;

/// The stock of the shelf covers this many weeks of average sales,
const WEEKS_STOCKED: u64 = 4;
/// of the weeks that the data covers (1 December 2010 to 11 November 2011),
const WEEKS_COVERED: u64 = 50;
/// and at least this many units, so that every article can be bought.
const STOCK_LEAST: u64 = 3;

struct Shelf {
    category: &'static str,
    tag: &'static str,
    words: &'static [&'static str],
}

/// An article's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The shelf.
    pub category: &'static str,
    /// Sorted by importance: the shelf's own first, the season last.
    pub tags: Vec<&'static str>,
    /// Units on hand.
    pub stock: u64,
}

/// Finds an article's place.
pub fn place(article: &Article) -> Place {
    let lower = article.name.to_lowercase();
    let words: Vec<&str> = lower.split([' ', '/', ',', '(', ')', '"']).collect();
    let says = |listed: &[&str]| words.iter().any(|word| listed.contains(word));
    let mut shelves = SHELVES.iter().filter(|shelf| says(shelf.words));
    let (category, first) = shelves
        .next()
        .map_or(ELSEWHERE, |shelf| (shelf.category, shelf.tag));
    let mut tags = vec![first];
    let others = shelves.map(|shelf| shelf.tag);
    let named = TAGS
        .iter()
        .filter(|(_, listed)| says(listed))
        .map(|(tag, _)| *tag);
    for tag in others.chain(named) {
        if !tags.contains(&tag) && tags.len() < TAGS_MAX - 1 {
            tags.push(tag);
        }
    }
    tags.extend(article.season.map(super::articles::Season::as_str));
    Place {
        category,
        tags,
        stock: (article.sold * WEEKS_STOCKED)
            .div_ceil(WEEKS_COVERED)
            .max(STOCK_LEAST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::demo::articles::Season;

    #[test]
    fn a_name_finds_its_shelf() {
        let article = |name: &str, sold, season| Article {
            code: "85123A".to_owned(),
            name: name.to_owned(),
            price_pence: 295,
            sold,
            season,
        };
        for (name, category, tags) in [
            (
                "White Hanging Heart T-Light Holder",
                "Lighting & Candles",
                vec!["lighting"],
            ),
            (
                "Vintage Christmas Gift Bag Large",
                "Christmas & Seasonal",
                vec!["christmas", "bags", "gift", "vintage"],
            ),
            (
                "Regency Cakestand 3 Tier",
                "Kitchen & Dining",
                vec!["kitchen", "vintage"],
            ),
            ("Metal Sign Take It or Leave It", "Home & Decor", vec!["home"]),
        ] {
            let place = place(&article(name, 1, None));
            assert_eq!((place.category, place.tags), (category, tags), "{name}");
        }
        let winter = place(&article("Hand Warmer Owl Design", 1000, Some(Season::Winter)));
        assert_eq!((winter.tags.last(), winter.stock), (Some(&"winter"), 80));
        assert_eq!(place(&article("Hand Warmer Owl Design", 1, None)).stock, 3);
    }

    #[test]
    fn the_lists_are_in_lower_case() {
        let words = SHELVES
            .iter()
            .flat_map(|shelf| shelf.words)
            .chain(TAGS.iter().flat_map(|(_, words)| *words));
        for word in words {
            assert_eq!(*word, word.to_lowercase());
        }
    }
}
