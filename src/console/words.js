// Every text of the page, in both languages, and what shows the chosen one.

const WORDS = {
  en: {
    skip: "Skip to the scenarios", stop_all: "Stop all", halt: "Halt", rearm: "Rearm", theme: "Light or dark", language: "中文",
    token: "Token", use: "Use it", scenarios: "Scenarios", filter: "Filter", live: "Live", span: "Time shown", pause: "Pause", resume: "Resume",
    timeline: "Timeline", events: "Events", start: "Start", stop: "Stop", add: "Add to set", remove: "Remove", start_set: "Start the set",
    set: "Set", duration: "Duration", duration_hint: "Such as 30s, 5m or 1h. Empty: until it is stopped.", lease: "Lease",
    optional: "optional", on: "on", off: "off", ready: "ready", not_ready: "not ready", halted: "halted", gone: "no answer",
    nothing_runs: "Nothing runs.", running: "Running", resources: "Resources", process: "The process", signals: "Logs, metrics, clock", ends_in: "ends in", lease_ends_in: "lease ends in", starts_in: "starts in",
    until_stopped: "until stopped", asked: "asked", achieved: "achieved", requests: "Requests", errors: "Error share", latency: "Latency",
    cpu: "CPU", memory: "Memory", counts: "In use", threads: "threads", tasks: "tasks", files: "files", limit: "limit", no_events: "Nothing has run yet.",
    cores: "{0} cores", planned: "planned", measured: "measured", past: "Past sessions", began: "Began", ended: "Ended", how: "End", scenario: "Scenario",
    slow: "This listener is slow to answer.", way_out: "No fault slows the admin listener down:",
    gone_text: "The service gives no answer since {0}. Still asking.", back_text: "The service is back, as a new process.", last_end: "The last process: {0}.",
    needs_token: "This needs the token.", constant: "constant", shape: "Shape", default: "default", failed: "It was not done",
    set_done: "The set replaces all that runs.", more: "More", short_by: "short", per_s: "/s",
  },
  zh: {
    skip: "跳到故障场景", stop_all: "全部停止", halt: "急停", rearm: "解除急停", theme: "浅色或深色", language: "English",
    token: "令牌", use: "使用", scenarios: "故障场景", filter: "筛选", live: "实时", span: "时间范围", pause: "暂停", resume: "继续",
    timeline: "时间线", events: "事件", start: "启动", stop: "停止", add: "加入组合", remove: "移除", start_set: "启动组合",
    set: "组合", duration: "时长", duration_hint: "例如 30s、5m、1h；留空则一直运行，直到手动停止。", lease: "租约",
    optional: "可选", on: "开", off: "关", ready: "就绪", not_ready: "未就绪", halted: "已急停", gone: "无响应",
    nothing_runs: "当前没有运行中的场景。", running: "运行中", resources: "资源", process: "进程", signals: "日志、指标、时钟", ends_in: "剩余", lease_ends_in: "租约剩余", starts_in: "距启动",
    until_stopped: "直到手动停止", asked: "目标", achieved: "实际", requests: "请求", errors: "错误率", latency: "延迟",
    cpu: "CPU", memory: "内存", counts: "占用数量", threads: "线程", tasks: "任务", files: "文件描述符", limit: "上限", no_events: "还没有运行过任何场景。",
    cores: "{0} 核", planned: "计划", measured: "实测", past: "历史会话", began: "开始", ended: "结束", how: "结束方式", scenario: "场景",
    slow: "此监听端口响应缓慢。", way_out: "管理端口不受任何故障影响：",
    gone_text: "服务自 {0} 起无响应，正在持续重试。", back_text: "服务已恢复，现在是新的进程。", last_end: "上一个进程：{0}。",
    needs_token: "此操作需要令牌。", constant: "恒定", shape: "曲线", default: "默认", failed: "操作未完成",
    set_done: "启动组合会替换所有运行中的场景。", more: "更多", short_by: "未达到", per_s: "/秒",
  },
};

let language = navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en";
const listeners = [];

export const t = (key, ...values) => values.reduce((text, value, at) => text.replace(`{${at}}`, value), WORDS[language][key] ?? key);

export const onLanguage = (listener) => listeners.push(listener);

export function switchLanguage() {
  language = language === "zh" ? "en" : "zh";
  translate();
}

/** Puts the chosen language into the page. */
export function translate() {
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  for (const element of document.querySelectorAll("[data-t]")) element.textContent = t(element.dataset.t);
  for (const element of document.querySelectorAll("[data-label]")) {
    element.setAttribute("aria-label", t(element.dataset.label));
    element.title = t(element.dataset.label);
  }
  for (const element of document.querySelectorAll("[data-placeholder]")) element.placeholder = t(element.dataset.placeholder);
  for (const listener of listeners) listener();
}
