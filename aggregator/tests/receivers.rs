//! What receivers of other kinds than webhooks get over the wire.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod support;

use std::fs;

use meshprobe_aggregator::incident::Transition;
use support::{Folder, Inbox, Way, any_port, dark, receiver};

const OPEN: Transition = Transition::Opened;

#[tokio::test]
async fn slack_and_templates_get_their_own_words_over_the_wire() {
    let folder = Folder::new();
    let (chat, tickets) = (Inbox::default(), Inbox::default());
    let (listener, chat_address) = any_port().await;
    let _chat = chat.serve(listener);
    let (listener, tickets_address) = any_port().await;
    let _tickets = tickets.serve(listener);
    fs::write(
        folder.file("chat.url"),
        format!("http://{chat_address}/services/secret\n"),
    )
    .unwrap();
    fs::write(folder.file("key"), "0123456789abcdef\n").unwrap();
    let receivers = [
        receiver(&format!(
            "{{name: chat, slack: {{url_file: {}}}}}",
            folder.file("chat.url").display()
        )),
        receiver(&format!(
            "{{name: tickets, template: {{url: 'http://{tickets_address}/', method: PUT, header_files: {{X-Api-Key: {}}}, \
             body: '{{\"what\": {{{{ title | json }}}}, \"nodes\": {{{{ labels.node | default(\"\") | json }}}}}}'}}}}",
            folder.file("key").display()
        )),
    ];
    let routes = "{resolve_hold: 0s, routes: [{match: {node: ['mesh-2']}, receivers: [tickets]}], default_receivers: [chat]}";
    let way = Way::start_with(folder.file("a.db"), &receivers, routes).unwrap();
    way.tell(OPEN, dark("mesh-1")).await;
    way.tell(OPEN, dark("mesh-2")).await;
    let message = chat.wait_for(1).await.remove(0);
    assert_eq!(
        message.json()["text"],
        ":rotating_light: FIRING *node-dark mesh-1*"
    );
    assert!(message.id().contains(".opened."));
    let ticket = tickets.wait_for(1).await.remove(0);
    assert_eq!(
        ticket.json(),
        serde_json::json!({"what": "node-dark mesh-2", "nodes": "mesh-2"})
    );
    assert_eq!(ticket.header("x-api-key"), "0123456789abcdef");
    way.stop().await;
    assert_eq!((chat.all().len(), tickets.all().len()), (1, 1));
}
