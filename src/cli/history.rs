//! `cashbox history`: entries page by page, or as they are made.

use super::api_call::ApiCall;
use super::follow::{EntrySink, StartPlace, follow, print_entry};
use super::input::optional_argument;
use super::lists::{EntryFilters, Paging, TimeSpan};
use super::output::{CliError, Exit};
use super::table::{self, Column, GrowingTable, free_texts, numbers, words};
use super::target::ApiClient;
use clap::Args;
use serde_json::Value;

/// `cashbox history`
#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    /// The user [default: all users]
    user: Option<String>,
    #[command(flatten)]
    filters: EntryFilters,
    #[command(flatten)]
    span: TimeSpan,
    /// Go on with each entry when it is made, until interrupted; with --since, after those that are there
    #[arg(long, conflicts_with_all = ["order", "until", "limit", "after", "all"])]
    follow: bool,
    #[command(flatten)]
    paging: Paging,
}

impl HistoryArgs {
    /// Prints the list.
    pub(crate) fn run(&self, client: &ApiClient) -> Result<Exit, CliError> {
        let user = optional_argument(self.user.as_ref())?;
        if self.follow {
            return self.follow(client, user);
        }
        let list = match &user {
            Some(user) => ApiCall::get(&["v1", "wallets", user, "entries"]),
            None => ApiCall::get(&["v1", "entries"]),
        };
        let list = self.span.add_to(self.filters.add_to(list));
        self.paging.run(client, &list, |rows| entries(rows, user.as_deref()))
    }

    fn follow(&self, client: &ApiClient, user: Option<String>) -> Result<Exit, CliError> {
        let query = self.filters.events(user.as_deref()).query("since", self.span.since.as_ref());
        let start = if self.span.since.is_some() { StartPlace::First } else { StartPlace::Now };
        let table = (!client.json).then(|| GrowingTable::new(&COLUMNS[..if user.is_some() { 7 } else { 6 }]));
        follow(client, &query, start, &mut EntryPrinter { user, table })
    }
}

/// Prints entries one by one.
struct EntryPrinter {
    user: Option<String>,
    /// None: as JSON.
    table: Option<GrowingTable>,
}

impl EntrySink for EntryPrinter {
    fn take(&mut self, entry: &str) -> Result<(), CliError> {
        let Some(table) = &mut self.table else { return print_entry(entry) };
        let mut row: Value = serde_json::from_str(entry).unwrap_or_default();
        add_balance(&mut row, self.user.as_deref());
        print_entry(&table.lines_of(&row))
    }

    fn reached(&mut self, _: &str) -> Result<(), CliError> {
        Ok(())
    }
}

/// Adds the balance of that user after the entry.
fn add_balance(row: &mut Value, user: Option<&str>) {
    if let Some(user) = user {
        let side = if row["from"] == user { "from_balance" } else { "to_balance" };
        row["balance"] = row[side].clone();
    }
}

/// Entries as a table; those of one user with that user's balance after each.
fn entries(mut rows: Vec<Value>, user: Option<&str>) -> String {
    rows.iter_mut().for_each(|row| add_balance(row, user));
    table::table(&rows, &COLUMNS, "no entries")
}

/// The columns of entries; when they come one by one, the first six, and with a user the balance.
const COLUMNS: [Column; 10] = [
    numbers("ENTRY", "id"),
    words("TIME", "at"),
    words("KIND", "kind"),
    words("FROM", "from"),
    words("TO", "to"),
    numbers("AMOUNT", "amount"),
    numbers("BALANCE", "balance"),
    words("COUPON", "coupon"),
    numbers("REFUNDS", "refunds"),
    free_texts("REFERENCE", "reference"),
];
