-- Whose session the queue's packet ids and `recorded` belong to: the server's address and our client id; '' while that is not known.
ALTER TABLE queues ADD COLUMN server TEXT NOT NULL DEFAULT '';
