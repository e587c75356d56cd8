-- The resources: one document table, one revision a tenant, one row a counter.
-- key: the parts of the resource's key joined by U+0001, so that they sort part by part.
CREATE TABLE resources (
    account TEXT NOT NULL,
    region TEXT NOT NULL,
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    revision BIGINT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (account, region, kind, key)
);
CREATE TABLE revisions (
    account TEXT NOT NULL,
    region TEXT NOT NULL,
    revision BIGINT NOT NULL,
    PRIMARY KEY (account, region)
);
CREATE TABLE counters (
    account TEXT NOT NULL,
    region TEXT NOT NULL,
    counter TEXT NOT NULL,
    value BIGINT NOT NULL,
    PRIMARY KEY (account, region, counter)
);
