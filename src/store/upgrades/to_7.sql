-- From version 6 to version 7: entries are found by reference and by coupon, and the report has its totals, which the program
-- makes from the entries after this.

CREATE INDEX entry_reference ON entry (reference) WHERE reference IS NOT NULL;
CREATE INDEX entry_coupon ON entry (coupon) WHERE coupon IS NOT NULL;

CREATE TABLE report_total (
    quarter INTEGER NOT NULL,
    what    TEXT NOT NULL,
    count   INTEGER NOT NULL,
    sum     TEXT NOT NULL,
    PRIMARY KEY (quarter, what)
) STRICT, WITHOUT ROWID;
