// What the agent names in one word, as people say it.

import { _ } from "./text.js";

const WORDS = {
  angry: _("angry"),
  happy: _("happy"),
  neutral: _("neutral"),
  sad: _("sad"),
  other: _("other"),
  disgust: _("disgusted"),
  fear: _("afraid"),
  surprise: _("surprised"),

  critical: _("critical"),
  warning: _("warning"),
  info: _("info"),

  resolve: _("resolved"),
  false_alarm: _("false alarm"),
  snooze: _("snoozed"),
  on_my_way: _("on the way"),
  calm: _("calm again"),
  out_of_view: _("the customer left"),
  stopped: _("the kiosk stopped"),

  online: _("online"),
  degraded: _("has a problem"),

  starting: _("starting"),
  running: _("running"),
  lost: _("lost"),
  ended: _("ended"),

  cut_off: _("cut off by the picture's edge"),
  turned_away: _("turned away"),
  too_bright: _("too bright"),
  low_contrast: _("too little contrast"),
  too_dark: _("too dark"),
  blurred: _("out of focus"),
  too_small: _("too small"),
  too_many: _("too many at once"),
  still: _("does not move: a poster or a screen"),
  score: _("score"),
  brightness: _("brightness"),
  face_width: _("width of faces"),
};

// What is configured here and has no word of ours is shown as it is.
export const word = (name) => WORDS[name] ?? name.replaceAll("_", " ");
