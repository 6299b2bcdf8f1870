-- When a start of the machine began, by its clock as it was set later. Times from before that are made right when a row is read, if its number
-- is at least `from_n`: rows below it may have been sent as they are, and a repetition has to be the same.
CREATE TABLE clocks (
    queue  INTEGER NOT NULL,                -- 0: a process of this boot has opened the database
    boot   INTEGER NOT NULL,
    began  INTEGER NOT NULL,                -- milliseconds since 1970
    from_n INTEGER NOT NULL,
    PRIMARY KEY (queue, boot)
) WITHOUT ROWID;
