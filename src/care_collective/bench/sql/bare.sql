-- The rows of one opened conversation as plain inserts in one transaction, sent together as the one call is. Ids lie
-- as far apart as random ones do.
\set helper 100000000001 + :client_id
\set number :base + (:i + :client_id * :shift) % :span
\set request 300000000000 + :number
\set owner 200000000001 + :number % :owners
\set conversation 500000000000 + permute(:number * 100 + :client_id, 99999999999, 7)
\set i :i + 1
\startpipeline
begin;
insert into public.conversations_v2 (community_id, id, help_request_id, requester_id, helper_id, initial_message)
values ('00000000-0000-4000-8000-900000000001', ('00000000-0000-4000-8000-' || :conversation::text)::uuid,
        ('00000000-0000-4000-8000-' || :request::text)::uuid, ('00000000-0000-4000-8000-' || :owner::text)::uuid,
        ('00000000-0000-4000-8000-' || :helper::text)::uuid, 'Hello, I live two streets away and can help on Friday.');
insert into public.conversation_members
  (community_id, conversation_id, user_id, version, last_read_seq, unread, last_activity_at)
values ('00000000-0000-4000-8000-900000000001', ('00000000-0000-4000-8000-' || :conversation::text)::uuid,
        ('00000000-0000-4000-8000-' || :helper::text)::uuid, 'v2', 0, 0, clock_timestamp()),
       ('00000000-0000-4000-8000-900000000001', ('00000000-0000-4000-8000-' || :conversation::text)::uuid,
        ('00000000-0000-4000-8000-' || :owner::text)::uuid, 'v2', -1, 1, clock_timestamp());
insert into care.outbox (community_id, topic, help_request_id, conversation_id, seq, actor_id, created_at)
values ('00000000-0000-4000-8000-900000000001', 'conversation.opened',
        ('00000000-0000-4000-8000-' || :request::text)::uuid, ('00000000-0000-4000-8000-' || :conversation::text)::uuid,
        0, ('00000000-0000-4000-8000-' || :helper::text)::uuid, clock_timestamp());
insert into public.notifications
  (community_id, user_id, kind, actor_id, help_request_id, conversation_id, created_at, updated_at, due_at)
values ('00000000-0000-4000-8000-900000000001', ('00000000-0000-4000-8000-' || :owner::text)::uuid, 'offer.received',
        ('00000000-0000-4000-8000-' || :helper::text)::uuid, ('00000000-0000-4000-8000-' || :request::text)::uuid,
        ('00000000-0000-4000-8000-' || :conversation::text)::uuid, clock_timestamp(), clock_timestamp(),
        clock_timestamp() + interval '1 minute');
insert into care.rate_counters as r (community_id, user_id, kind, window_start, used)
values ('00000000-0000-4000-8000-900000000001', ('00000000-0000-4000-8000-' || :helper::text)::uuid, 'conversations',
        clock_timestamp(), 1)
on conflict on constraint rate_counters_pkey do update
  set used = r.used + 1;
insert into care.idempotency_keys (community_id, user_id, key, fingerprint, answer, created_at)
values ('00000000-0000-4000-8000-900000000001', ('00000000-0000-4000-8000-' || :helper::text)::uuid,
        :run::text || '-' || :client_id::text || '-' || :i::text,
        '\x0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef',
        '{"success": true, "message": "Your offer is sent. You can both write now.", "conversation_id": "00000000-0000-4000-8000-000000000000"}',
        clock_timestamp());
commit;
\endpipeline
