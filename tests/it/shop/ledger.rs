//! The ledger of a variant: every durable line, whether it is a row already or only in the log, and reading changes nothing.
use super::{House, ctx, on_both_logs, stock, variant};
use holdfast::{
    app::{AdjustAsk, Shop},
    config::JournalBackend,
};

on_both_logs!(
    lines_come_from_rows_and_log_without_a_checkpoint,
    lines_stay_readable_while_checkpoints_run,
);

async fn adjust(shop: &Shop, id: &str) {
    let ask = AdjustAsk {
        delta: 1,
        reason: "found".to_owned(),
        reference: None,
        expected_on_hand: None,
    };
    shop.adjust_stock(&ctx(), &variant(id), ask, None).await.unwrap();
}

/// Every line by its number, read in pages of this size.
async fn lines(shop: &Shop, id: &str, page: usize) -> Vec<u64> {
    let mut lines: Vec<u64> = Vec::new();
    loop {
        let after = lines.last().copied().unwrap_or(0);
        let (more, goes_on) = shop.ledger(&ctx(), &variant(id), after, page).await.unwrap();
        lines.extend(more.iter().map(|line| line.seq));
        if !goes_on {
            return lines;
        }
    }
}

fn lines_come_from_rows_and_log_without_a_checkpoint(backend: JournalBackend) {
    let mut house = House::new(backend);
    house.run(|shop| async move {
        for id in ["a", "b"] {
            stock(&shop, id, 10).await;
        }
        adjust(&shop, "a").await;
        shop.checkpoint().await.unwrap();
        for _ in 0..5 {
            adjust(&shop, "a").await;
            adjust(&shop, "b").await;
        }
        for page in [1, 2, 3, 500] {
            assert_eq!(
                lines(&shop, "a", page).await,
                [1, 2, 3, 4, 5, 6, 7],
                "pages of {page}"
            );
            assert_eq!(
                lines(&shop, "b", page).await,
                [1, 2, 3, 4, 5, 6],
                "pages of {page}"
            );
        }
        let (none, more) = shop.ledger(&ctx(), &variant("a"), u64::MAX, 9).await.unwrap();
        assert!(none.is_empty() && !more);
    });
    // Nothing has been written into the rows by reading: a life that ends hard is replayed from the one checkpoint.
    let opened = house.crash_and_open();
    assert_eq!(opened.replayed, 10);
    house.run(|shop| async move {
        assert_eq!(
            lines(&shop, "a", 2).await,
            [1, 2, 3, 4, 5, 6, 7],
            "after a restart"
        );
    });
}

fn lines_stay_readable_while_checkpoints_run(backend: JournalBackend) {
    // A small segment: the log is trimmed right behind each checkpoint.
    let house = House::with(backend, |config| {
        config.journal.segment_bytes = holdfast::config::ByteSize::from_bytes(64 << 10);
    });
    house.run(|shop| async move {
        stock(&shop, "a", 10).await;
        for count in 1..=60 {
            adjust(&shop, "a").await;
            let (read, written) = tokio::join!(lines(&shop, "a", 7), shop.checkpoint());
            written.unwrap();
            assert_eq!(read, (1..=count + 1).collect::<Vec<u64>>());
        }
    });
}
