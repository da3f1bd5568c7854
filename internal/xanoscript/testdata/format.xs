realtime_channel "chat" {
  description = "say \"hi\"\n"
  active = true
  public_messaging = { active: true, auth: false }
  private_messaging = { active: false, auth: false }
  settings = {
    anonymous_clients: true
    nested_channels: true
    message_history: 100
    auth_channel: false
    presence: true
  }
}

realtime_channel "a\\b" {
  active = false
  public_messaging = { active: false, auth: true }
  private_messaging = { active: true, auth: true }
  settings = {
    anonymous_clients: false
    nested_channels: false
    message_history: 0
    auth_channel: true
    presence: false
  }
}
