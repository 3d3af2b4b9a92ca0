-- What every write hands on from its beginning to its end (functions/identity.sql and keys.sql): answer is set when the
-- call is over, refused, replayed, mismatched or invalid; key and fingerprint are for its success.
create type care.writing as (
  answer jsonb, community_id uuid, user_id uuid, restriction text, key text, fingerprint bytea
);
create type care.opening as (me care.writing, requester_id uuid, message text, orphan_id uuid);

-- A message as its two people see it; the names are the keys of its JSON (care.shown_messages).
create type care.message as (
  id uuid, seq integer, sender_id uuid, content text, created_at timestamptz, updated_at timestamptz
);
