//! Tidies the names of the data set: upper case, abbreviated, cut at 35 characters, with the typing errors of a busy shop.

/// The shop's own vouchers and advertising, and what a family shop would not show, by a part of the name.
const NOT_SOLD: &[&str] = &["DOTCOM", "VOUCHER", "AMAZON", "SEX BOMB"];

/// Notes of the stock room, by the whole name.
const NOTES: &[&str] = &[
    "ADJUSTMENT",
    "CHECK",
    "DAMAGED",
    "DAMAGES",
    "EBAY",
    "FOUND",
    "MAILOUT",
    "MANUAL",
    "TEST",
];

/// Pieces that are rewritten before words are looked at; they contain what otherwise parts words.
const PIECES: &[(&str, &str)] = &[
    ("C/COVER", "CUSHION COVER"),
    ("M/COLOUR", "MULTICOLOUR"),
    ("M.O.P", "MOTHER OF PEARL"),
    ("SILVER/MOP", "SILVER/MOTHER OF PEARL"),
    ("D.O.F.", "DOUBLE OLD FASHIONED"),
    ("W/CHIME", "WIND CHIME"),
    ("W/KNIF & S", "WITH KNIFE & SPOON"),
    ("W/SUCK", "WITH SUCKER"),
    ("DECO.WHITE", "DECORATION WHITE"),
    ("GARLD NECKL36\"", "GARLAND NECKLACE 36\" "),
    ("NECKL.36\"", "NECKLACE 36\" "),
    ("42\"NECKL.", "42\" NECKLACE"),
    ("CANDL SET", "CANDLE SET"),
    ("CAND SET", "CANDLE SET"),
    ("BLK/WHIT", "BLACK/WHITE"),
    ("ASS COL", "ASSORTED COLOUR"),
    ("STOPMETAL", "STOP METAL"),
    ("B'DRAW", "BOTTOM DRAWER"),
    ("T-LIGHT HOLD ", "T-LIGHT HOLDER "),
    ("FOR ONE\"", "FOR ONE\" "),
    ("LOLA\"", "LOLA \""),
    ("VINT ART DEC ", "VINTAGE ART DECO "),
    (",", ", "),
    (" ,", ","),
];

/// Words that are written out or corrected.
const WORDS: &[(&str, &str)] = &[
    ("ABC", "ABC"),
    ("ADE", "Aid"),
    ("ANT", "Antique"),
    ("ASS", "Assorted"),
    ("ASST", "Assorted"),
    ("ASSTD", "Assorted"),
    ("B'FLY", "Butterfly"),
    ("BLK", "Black"),
    ("CANNISTER", "Canister"),
    ("CHILDRENS", "Children's"),
    ("CHILDS", "Child's"),
    ("CHOC", "Chocolate"),
    ("CINAMMON", "Cinnamon"),
    ("COL", "Colour"),
    ("DEC", "Decoration"),
    ("DES", "Design"),
    ("DIA", "Diamond"),
    ("FOLKART", "Folk Art"),
    ("FUSCHIA", "Fuchsia"),
    ("HLDR", "Holder"),
    ("IPOD", "iPod"),
    ("LADIES", "Ladies'"),
    ("LAQUERED", "Lacquered"),
    ("LIVINGROOM", "Living Room"),
    ("LT", "Light"),
    ("LT.BLUE", "Light Blue"),
    ("MED", "Medium"),
    ("MOP", "Mother of Pearl"),
    ("MUMS", "Mum's"),
    ("NAT", "Natural"),
    ("NECKL", "Necklace"),
    ("P'WEIGHT", "Paperweight"),
    ("PC", "Piece"),
    ("POLKADOT", "Polka Dot"),
    ("POURI", "Pourri"),
    ("RETROSPOT", "Retro Spot"),
    ("RND", "Round"),
    ("SANDLEWOOD", "Sandalwood"),
    ("SIL'T", "Silhouette"),
    ("SKIPPPING", "Skipping"),
    ("SMALLFOLKART", "Small Folk Art"),
    ("SQU", "Square"),
    ("STR", "Strand"),
    ("STRAWBRY", "Strawberry"),
    ("TEC", "Tech"),
    ("TRADTIONAL", "Traditional"),
    ("TURQ", "Turquoise"),
    ("TURQUOIS", "Turquoise"),
    ("VINT", "Vintage"),
    ("VIP", "VIP"),
    ("W", "with"),
    ("WC", "WC"),
    ("WHT", "White"),
    ("XMAS", "Christmas"),
];

/// Words that stay small inside a name.
const SMALL: &[&str] = &[
    "a", "and", "at", "by", "de", "du", "for", "from", "in", "of", "on", "or", "the", "to", "up", "with",
];

/// Words that stay in capitals.
const CAPITALS: &[&str] = &[
    "3D", "BBQ", "CD", "DIY", "DVD", "LED", "TV", "UK", "USB", "XL", "XXL",
];

/// A name fit for a shelf, or `None` when it is not one of an article.
pub fn tidy(raw: &str) -> Option<String> {
    let upper = raw.to_uppercase();
    let is_note = NOTES.contains(&upper.as_str()) || NOT_SOLD.iter().any(|part| upper.contains(part));
    if is_note || !upper.contains(|c: char| c.is_ascii_alphabetic()) {
        return None;
    }
    // A blank at the end lets pieces match at the end of a name too.
    let pieces = PIECES
        .iter()
        .fold(format!("{upper} "), |text, (from, to)| text.replace(from, to));
    let spaced = space_signs(&pieces);
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut tidied = String::with_capacity(raw.len());
    let mut at = 0;
    while at < words.len() {
        let written = match set_of(&words[at..]) {
            Some((written, used)) => {
                at += used;
                written
            }
            None => {
                at += 1;
                compound(words[at - 1])
            }
        };
        let first = tidied.is_empty() || tidied.ends_with('"');
        if !tidied.is_empty() {
            tidied.push(' ');
        }
        tidied.push_str(&if first { capitalised(&written) } else { written });
    }
    Some(tidied.trim_end_matches(['.', ',', ' ']).to_owned())
}

/// Blanks around plus signs (as "&") and before opening parentheses; signs of emphasis dropped.
fn space_signs(text: &str) -> String {
    text.chars().fold(String::new(), |mut spaced, c| {
        match c {
            '+' | '&' => spaced.push_str(" & "),
            '(' => spaced.push_str(" ("),
            '*' => {}
            _ => spaced.push(c),
        }
        spaced
    })
}

/// "S/4", "SET/4", "SET 4" and "PACK/12" mean a set of 4 and a pack of 12. Also says how many words that took.
fn set_of(words: &[&str]) -> Option<(String, usize)> {
    let (noun, count, used) = match (words[0].split_once('/'), words) {
        (Some((noun, count)), _) => (noun, count, 1),
        (None, [noun @ ("SET" | "PACK"), count, ..]) => (*noun, *count, 2),
        (None, _) => return None,
    };
    let noun = match noun {
        "S" | "SET" => "Set",
        "PACK" => "Pack",
        "BOX" => "Box",
        _ => return None,
    };
    let numbered = !count.is_empty() && count.bytes().all(|byte| byte.is_ascii_digit());
    numbered.then(|| (format!("{noun} of {count}"), used))
}

/// A word with its parts between slashes and hyphens in title case.
fn compound(word: &str) -> String {
    if let Some((_, written)) = WORDS
        .iter()
        .find(|(from, _)| *from == word.trim_matches(['.', ',']))
    {
        let comma = if word.ends_with(',') { "," } else { "" };
        return format!("{written}{comma}");
    }
    for sign in ['/', '-'] {
        if word.len() > 1 && word.contains(sign) {
            let parts: Vec<String> = word.split(sign).map(compound).collect();
            let parts: Vec<String> = parts.iter().map(|part| capitalised(part)).collect();
            return parts.join(&sign.to_string());
        }
    }
    title(word.trim_end_matches('.'))
}

fn title(word: &str) -> String {
    if CAPITALS.contains(&word) || is_letter_with_digit(word) {
        return word.to_owned();
    }
    // Decades and sizes: 50'S is 50s, 60CM is 60cm.
    if word.starts_with(|c: char| c.is_ascii_digit()) {
        return word.replace('\'', "").to_lowercase();
    }
    let lower = word.to_lowercase();
    if SMALL.contains(&lower.as_str()) {
        return lower;
    }
    capitalised(&lower)
}

/// Paper sizes and the like: A6.
fn is_letter_with_digit(word: &str) -> bool {
    let bytes = word.as_bytes();
    bytes.len() == 2 && bytes[0].is_ascii_uppercase() && bytes[1].is_ascii_digit()
}

/// The first letter large; signs before it are passed over.
fn capitalised(word: &str) -> String {
    match word.char_indices().find(|(_, c)| c.is_alphanumeric()) {
        Some((at, c)) if word != "iPod" => {
            let (before, rest) = (&word[..at], &word[at + c.len_utf8()..]);
            format!("{before}{}{rest}", c.to_uppercase())
        }
        _ => word.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::tidy;

    #[test]
    fn names_are_fit_for_a_shelf() {
        for (raw, expected) in [
            (
                "WHITE HANGING HEART T-LIGHT HOLDER",
                "White Hanging Heart T-Light Holder",
            ),
            ("SET/6 RED SPOTTY PAPER CUPS", "Set of 6 Red Spotty Paper Cups"),
            ("S/4 GROOVY CAT MAGNETS", "Set of 4 Groovy Cat Magnets"),
            (
                "SET 12 LAVENDER  BOTANICAL T-LIGHTS",
                "Set of 12 Lavender Botanical T-Lights",
            ),
            ("SET OF 6 T-LIGHTS SANTA", "Set of 6 T-Lights Santa"),
            (
                "FOLK ART GREETING CARD,pack/12",
                "Folk Art Greeting Card, Pack of 12",
            ),
            ("PAPER CHAIN KIT 50'S CHRISTMAS", "Paper Chain Kit 50s Christmas"),
            (
                "CHARLIE+LOLA\"EXTREMELY BUSY\" SIGN",
                "Charlie & Lola \"Extremely Busy\" Sign",
            ),
            (
                "PINK B'FLY C/COVER W BOBBLES",
                "Pink Butterfly Cushion Cover with Bobbles",
            ),
            (
                "BLUE/YELLOW CERAMIC CANDLE HOLDER",
                "Blue/Yellow Ceramic Candle Holder",
            ),
            ("*Boombox Ipod Classic", "Boombox iPod Classic"),
            ("POLYESTER FILLER PAD 40x40cm", "Polyester Filler Pad 40x40cm"),
            ("ENGLISH ROSE NOTEBOOK A6 SIZE", "English Rose Notebook A6 Size"),
            (
                "SMALL FOLDING SCISSOR(POINTED EDGE)",
                "Small Folding Scissor (Pointed Edge)",
            ),
            ("FOOD COVER,MOP PENDANT", "Food Cover, Mother of Pearl Pendant"),
            ("GREETING CARD, TWO SISTERS.", "Greeting Card, Two Sisters"),
            (
                "FLOWER GLASS GARLD NECKL36\"TURQUOIS",
                "Flower Glass Garland Necklace 36\" Turquoise",
            ),
            (
                "ASSTD COL BUTTERFLY/CRYSTAL W/CHIME",
                "Assorted Colour Butterfly/Crystal Wind Chime",
            ),
            ("CHILDREN'S SPACEBOY MUG", "Children's Spaceboy Mug"),
            ("POTTING SHED SOW 'N' GROW SET", "Potting Shed Sow 'N' Grow Set"),
            ("I'M ON HOLIDAY METAL SIGN", "I'm on Holiday Metal Sign"),
            ("LETTER \"A\" BLING KEY RING", "Letter \"A\" Bling Key Ring"),
        ] {
            assert_eq!(tidy(raw).as_deref(), Some(expected));
        }
    }

    #[test]
    fn notes_are_no_names() {
        for raw in [
            "",
            "?",
            "20713",
            "check",
            "Dotcomgiftshop Gift Voucher £20.00",
            "amazon sales",
        ] {
            assert_eq!(tidy(raw), None, "{raw}");
        }
    }
}
