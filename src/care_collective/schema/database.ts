// Tables and functions for supabase-js: createClient<Database>(url, key).
// `care-collective types --write` makes this file.
// Tables describe rows only. They are read and written through the functions; no client has a right on a table.

export type Json = string | number | boolean | null | { [key: string]: Json | undefined } | Json[]

export type Database = {
  public: {
    Tables: {
      /** One row a mutual-aid community; everything its members make carries its id. */
      communities: {
        Row: {
          id: string
          slug: string
          hosts: string[]
          name: string
          time_zone: string
          locale: string
          emergency_line: string | null
          settings: Json
          is_probe: boolean
          created_at: string
        }
        Insert: Record<string, never>
        Update: Record<string, never>
        Relationships: []
      }
      /** Each person's own view of a conversation of either engine; the inbox is one scan of it. */
      conversation_members: {
        Row: {
          community_id: string
          conversation_id: string
          user_id: string
          version: "v1" | "v2"
          last_read_seq: number
          unread: number
          last_activity_at: string
          muted_until: string | null
          archived_at: string | null
        }
        Insert: Record<string, never>
        Update: Record<string, never>
        Relationships: []
      }
      /** V1: the two people of a conversation, written by its second step. */
      conversation_participants: {
        Row: {
          community_id: string
          conversation_id: string
          user_id: string
          joined_at: string
          left_at: string | null
        }
        Insert: Record<string, never>
        Update: Record<string, never>
        Relationships: []
      }
      /** V1: opened in three commits. last_seq -1 is an orphan, a conversation without a message. */
      conversations: {
        Row: {
          community_id: string
          id: string
          help_request_id: string
          created_by: string
          requester_id: string
          status: "active" | "held" | "declined" | "closed"
          status_by: string | null
          decline_reason: string | null
          last_seq: number
          last_message_at: string | null
          created_at: string
          updated_at: string
          hidden_at: string | null
        }
        Insert: Record<string, never>
        Update: Record<string, never>
        Relationships: []
      }
      /** V2: a conversation that carries its own first message (seq 0), so it cannot exist without one. */
      conversations_v2: {
        Row: {
          community_id: string
          id: string
          help_request_id: string
          requester_id: string
          helper_id: string
          initial_message: string
          status: "active" | "held" | "declined" | "closed"
          status_by: string | null
          decline_reason: string | null
          last_seq: number
          created_at: string
          updated_at: string
          hidden_at: string | null
          initial_message_id: string | null
          initial_message_at: string | null
          initial_message_updated_at: string | null
        }
        Insert: Record<string, never>
        Update: Record<string, never>
        Relationships: []
      }
      /** What a neighbour asks for. Its row lock orders offers on it against each other and against its end. */
      help_requests: {
        Row: {
          community_id: string
          id: string
          user_id: string
          title: string
          description: string | null
          category: "health-caregiving" | "groceries-meals" | "transportation-errands" | "household-yard" | "technology-administrative" | "social-companionship" | "other"
          urgency: "normal" | "urgent" | "critical"
          status: "open" | "in_progress" | "completed" | "cancelled" | "closed"
          status_reason: string | null
          helper_id: string | null
          exchange_offer: string | null
          created_at: string
          updated_at: string
          in_progress_at: string | null
          completed_at: string | null
          cancelled_at: string | null
          closed_at: string | null
        }
        Insert: Record<string, never>
        Update: Record<string, never>
        Relationships: []
      }
      /** V1: what was written, the first message (seq 0) among them. */
      messages: {
        Row: {
          community_id: string
          id: string
          conversation_id: string
          seq: number
          sender_id: string
          recipient_id: string
          content: string
          created_at: string
          updated_at: string
          hidden_at: string | null
        }
        Insert: Record<string, never>
        Update: Record<string, never>
        Relationships: []
      }
      /** V2: follow-ups, seq 1 and on. */
      messages_v2: {
        Row: {
          community_id: string
          id: string
          conversation_id: string
          seq: number
          sender_id: string
          recipient_id: string
          content: string
          created_at: string
          updated_at: string
          hidden_at: string | null
        }
        Insert: Record<string, never>
        Update: Record<string, never>
        Relationships: []
      }
      /** How a member wants to be told, and whether they take offers. Who has no row has the defaults. */
      messaging_preferences: {
        Row: {
          community_id: string
          user_id: string
          email: "each" | "daily" | "off"
          quiet_from: string
          quiet_to: string
          offers_paused: boolean
          updated_at: string
        }
        Insert: Record<string, never>
        Update: Record<string, never>
        Relationships: []
      }
      /** What a member is told: one row an event and person, unread messages of a conversation one together. Ids, never words. */
      notifications: {
        Row: {
          community_id: string
          id: string
          user_id: string
          kind: "offer.received" | "offer.unanswered" | "offer.accepted" | "offer.declined" | "offer.replaced" | "helper.stepped_back" | "helper.released" | "message.received" | "conversation.closed" | "conversation.reopened" | "request.completed" | "request.cancelled" | "request.reopened" | "request.expired" | "membership.waiting" | "membership.approved" | "membership.rejected"
          actor_id: string | null
          help_request_id: string | null
          conversation_id: string | null
          count: number
          created_at: string
          updated_at: string
          read_at: string | null
          due_at: string | null
          again_at: string | null
          delivery_id: string | null
        }
        Insert: Record<string, never>
        Update: Record<string, never>
        Relationships: []
      }
      /** A member of a community. Every write locks its author's row here first (rule 11). */
      profiles: {
        Row: {
          community_id: string
          user_id: string
          display_name: string
          town: string | null
          verification_status: "pending" | "approved" | "rejected"
          is_coordinator: boolean
          application_words: string | null
          decision_reason: string | null
          decided_by: string | null
          decided_at: string | null
          time_zone: string | null
          locale: string | null
          created_at: string
          deleted_at: string | null
        }
        Insert: Record<string, never>
        Update: Record<string, never>
        Relationships: []
      }
      /** Who wants nothing to do with whom. Works both ways and is never disclosed. */
      user_blocks: {
        Row: {
          community_id: string
          blocker_id: string
          blocked_id: string
          created_at: string
        }
        Insert: Record<string, never>
        Update: Record<string, never>
        Relationships: []
      }
      /** What a coordinator has taken from a member, why and until when. Kept when lifted. */
      user_restrictions: {
        Row: {
          community_id: string
          id: string
          user_id: string
          kind: "limited" | "suspended" | "banned"
          why: string
          until: string | null
          created_by: string | null
          created_at: string
          lifted_at: string | null
          lifted_by: string | null
        }
        Insert: Record<string, never>
        Update: Record<string, never>
        Relationships: []
      }
    }
    Views: { [_ in never]: never }
    Functions: {
      /** Accepts an offer on the caller's request: assigns the helper, in place of another where there was one. */
      accept_offer: {
        Args: {
          p_conversation_id: string
        }
        Returns: Json
      }
      /** From now on tells the caller by web push to this browser instead of by letters; up to 10 browsers, an eleventh replaces the one used least lately. */
      add_push_subscription: {
        Args: {
          p_endpoint: string
          p_p256dh: string
          p_auth: string
        }
        Returns: Json
      }
      /** Puts one of the caller's conversations away, or back into the list; it comes back by itself when the other one writes or decides. */
      archive_conversation: {
        Args: {
          p_conversation_id: string
          p_archived: boolean
        }
        Returns: Json
      }
      /** Blocks a member whom the caller has met: neither finds the other's requests or can offer, their conversations end, and who helps the other helps no more. It is not disclosed. */
      block_user: {
        Args: {
          p_user_id: string
        }
        Returns: Json
      }
      /** Takes one of the caller's requests back, with an optional reason. */
      cancel_help_request: {
        Args: {
          p_help_request_id: string
          p_reason?: string | null
        }
        Returns: Json
      }
      /** Closes one of the caller's active conversations; both can still read it. */
      close_conversation: {
        Args: {
          p_conversation_id: string
        }
        Returns: Json
      }
      /** Marks one of the caller's requests as done. */
      complete_help_request: {
        Args: {
          p_help_request_id: string
        }
        Returns: Json
      }
      /** How many of the caller's notifications are unread, up to 100. */
      count_unread_notifications: {
        Args: Record<PropertyKey, never>
        Returns: Json
      }
      /** Offers help: opens the conversation with its first message (10 to 1000 characters), or answers why not. */
      create_conversation_atomic: {
        Args: {
          p_help_request_id: string
          p_helper_id: string
          p_initial_message: string
        }
        Returns: Json
      }
      /** Asks for help, 10 times a day. Title 5 to 100 characters, description to 1000, what one gives in return to 300. */
      create_help_request: {
        Args: {
          p_title: string
          p_category: string
          p_description?: string | null
          p_urgency?: string
          p_exchange_offer?: string | null
        }
        Returns: Json
      }
      /** Approves or rejects somebody who wants to join (p_decision), with an optional reason of up to 500 characters that they read; for coordinators. */
      decide_application: {
        Args: {
          p_applicant_id: string
          p_decision: string
          p_reason?: string | null
        }
        Returns: Json
      }
      /** Declines an offer on the caller's request, with an optional reason (to 500 characters) that the helper reads. */
      decline_offer: {
        Args: {
          p_conversation_id: string
          p_reason?: string | null
        }
        Returns: Json
      }
      /** Deletes the caller's account in the community and erases their personal data, for good; p_confirm is the word delete. What they wrote to others stays readable to those, as a former member's. Their address and password go with their last community. */
      delete_account: {
        Args: {
          p_confirm: string
        }
        Returns: Json
      }
      /** Everything the caller gave or that is about them in the community; messages of both engines 2000 at a time, further ones by next_cursor. The first page has all the rest. 100 pages an hour. */
      export_my_data: {
        Args: {
          p_cursor?: string | null
        }
        Returns: Json
      }
      /** One of the caller's conversations, of either engine, with its newest 500 follow-ups, oldest first. */
      get_conversation_v2: {
        Args: {
          p_conversation_id: string
          p_user_id: string
        }
        Returns: Json
      }
      /** One request of the community, as the caller sees it. */
      get_help_request: {
        Args: {
          p_help_request_id: string
        }
        Returns: Json
      }
      /** A page of one of the caller's conversations, oldest first, by seq; the first message is seq 0. p_limit 1 to 100. */
      get_messages: {
        Args: {
          p_conversation_id: string
          p_before?: number | null
          p_after?: number | null
          p_limit?: number
        }
        Returns: Json
      }
      /** The caller's own preferences: letters, quiet hours, new offers, language and time zone. */
      get_preferences: {
        Args: Record<PropertyKey, never>
        Returns: Json
      }
      /** The name and town by which the caller is known to other members. */
      get_profile: {
        Args: Record<PropertyKey, never>
        Returns: Json
      }
      /** Who wants to join the community (p_waiting) or was not approved (rejected), who has waited longest first; for coordinators. p_limit 1 to 50. */
      list_applications: {
        Args: {
          p_cursor?: string | null
          p_limit?: number
          p_waiting?: boolean
        }
        Returns: Json
      }
      /** Whom the caller has blocked, the latest first. Nobody is told who has blocked them. */
      list_blocks: {
        Args: Record<PropertyKey, never>
        Returns: Json
      }
      /** The caller's conversations of both engines, by last activity. p_limit 1 to 50; p_filter all (without the archived ones), unread or archived; p_search, to 100 characters: words of the other's name and the title, or of one message. */
      list_conversations: {
        Args: {
          p_cursor?: string | null
          p_limit?: number
          p_filter?: string
          p_search?: string | null
        }
        Returns: Json
      }
      /** Requests of the community, newest first; by status, category, urgency and words; p_mine: the caller's own. */
      list_help_requests: {
        Args: {
          p_cursor?: string | null
          p_limit?: number
          p_status?: string
          p_category?: string | null
          p_urgency?: string | null
          p_search?: string | null
          p_mine?: boolean
        }
        Returns: Json
      }
      /** What the caller was told, newest first. p_limit 1 to 50, p_filter all or unread. */
      list_notifications: {
        Args: {
          p_cursor?: string | null
          p_limit?: number
          p_filter?: string
        }
        Returns: Json
      }
      /** The offers on one of the caller's own requests, of both engines. */
      list_offers: {
        Args: {
          p_help_request_id: string
          p_cursor?: string | null
          p_limit?: number
        }
        Returns: Json
      }
      /** The browsers that the caller is told by: the SHA-256 of each endpoint, which a browser compares with its own, since when, and when one was last reached. */
      list_push_subscriptions: {
        Args: Record<PropertyKey, never>
        Returns: Json
      }
      /** Marks all of the caller's notifications as read; their threads stay as they are. */
      mark_all_notifications_read: {
        Args: Record<PropertyKey, never>
        Returns: Json
      }
      /** Marks one of the caller's notifications as read; a message's stays unread in its thread. */
      mark_notification_read: {
        Args: {
          p_notification_id: string
        }
        Returns: Json
      }
      /** Marks one of the caller's conversations as read up to a seq, and what they were told of it. Never backwards, never past the last message. */
      mark_read: {
        Args: {
          p_conversation_id: string
          p_seq: number
        }
        Returns: Json
      }
      /** Mutes one of the caller's conversations until a moment: no letters about it, and it still counts as unread. Null, or a moment that has passed, ends that. */
      mute_conversation: {
        Args: {
          p_conversation_id: string
          p_until: string
        }
        Returns: Json
      }
      /** The owner releases the accepted helper; the request is open again. */
      release_helper: {
        Args: {
          p_conversation_id: string
        }
        Returns: Json
      }
      /** Tells the caller no more by web push to this browser, where it did. */
      remove_push_subscription: {
        Args: {
          p_endpoint: string
        }
        Returns: Json
      }
      /** Reopens a conversation that the caller declined or closed. */
      reopen_conversation: {
        Args: {
          p_conversation_id: string
        }
        Returns: Json
      }
      /** Opens one of the caller's completed or cancelled requests again. */
      reopen_help_request: {
        Args: {
          p_help_request_id: string
        }
        Returns: Json
      }
      /** Tells that a conversation could not be opened or used: which, the code and reference that were shown, and words (to 500 characters), each where there is one. */
      report_problem: {
        Args: {
          p_conversation_id?: string | null
          p_help_request_id?: string | null
          p_code?: string | null
          p_reference?: string | null
          p_words?: string | null
        }
        Returns: Json
      }
      /** Writes a message (1 to 1000 characters) into one of the caller's conversations, of either engine. */
      send_message_v2: {
        Args: {
          p_conversation_id: string
          p_sender_id: string
          p_content: string
        }
        Returns: Json
      }
      /** Sets all of the caller's preferences: email each, daily or off; quiet hours as times of day, equal ones are none; whether new offers are paused; locale en or es and a time zone by its place, null is the community's. */
      set_preferences: {
        Args: {
          p_email: string
          p_quiet_from: string
          p_quiet_to: string
          p_offers_paused: boolean
          p_locale?: string | null
          p_time_zone?: string | null
        }
        Returns: Json
      }
      /** Corrects the caller's display name and town, up to 80 characters each; also before they are approved. */
      set_profile: {
        Args: {
          p_display_name: string
          p_town?: string | null
        }
        Returns: Json
      }
      /** The accepted helper gives the request back; it is open again. */
      step_back: {
        Args: {
          p_conversation_id: string
        }
        Returns: Json
      }
      /** Ends the caller's block of a member, where there is one. Conversations stay ended; the caller can open them again. */
      unblock_user: {
        Args: {
          p_user_id: string
        }
        Returns: Json
      }
      /** Rewrites one of the caller's requests while it takes offers. Limits as create_help_request. */
      update_help_request: {
        Args: {
          p_help_request_id: string
          p_title: string
          p_category: string
          p_description?: string | null
          p_urgency?: string
          p_exchange_offer?: string | null
        }
        Returns: Json
      }
    }
    Enums: { [_ in never]: never }
    CompositeTypes: { [_ in never]: never }
  }
}
