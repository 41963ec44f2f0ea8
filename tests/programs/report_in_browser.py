#!/usr/bin/env python3
"""Opens a run's report in Chromium, wide and as wide as a phone, light and dark: report_in_browser.py FOLDER [PICTURES]

FOLDER holds report.html, of a run with grids on the way. There must be no message on the console; curves are drawn, the
sliders do what they say, the strip is not empty, nothing is wider than the screen. With PICTURES, screenshots are left
there. Needs selenium, chromium and its driver.
"""
import pathlib
import sys

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait


def browser(width, dark):
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--window-size={width},3000"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    options.binary_location = "/usr/bin/chromium"
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService("/usr/bin/chromedriver"))
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [
        {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]})
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", dict(width=width, height=3000, deviceScaleFactor=1,
                                                                      mobile=width < 600))
    return driver


def move(driver, slider, value):
    driver.execute_script("arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'))", slider, value)


def check(driver, width):
    plots = driver.find_elements(By.CSS_SELECTOR, ".plot canvas")
    assert len(plots) >= 5, len(plots)
    inked = "const c = arguments[0]; return c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some((v) => v > 0)"
    assert sum(driver.execute_script(inked, plot) for plot in plots) >= 5
    lapse = driver.find_element(By.ID, "lapse")
    picture, slider = lapse.find_element(By.TAG_NAME, "img"), lapse.find_element(By.TAG_NAME, "input")
    seen = set()
    for place in range(int(slider.get_attribute("max")) + 1):
        move(driver, slider, place)
        seen.add(picture.get_attribute("src"))
        assert driver.execute_script("return arguments[0].decode().then(() => arguments[0].naturalWidth)", picture) > 10
    assert len(seen) >= 2, "the slider shows one picture only"
    smoothing = driver.find_element(By.ID, "smoothing")
    assert int(smoothing.get_property("max")) <= 200
    move(driver, smoothing, 7)
    assert driver.find_element(By.ID, "smoothed").text == "7"
    assert driver.execute_script("return plots[0].rollPeriod()") == 7
    strip = driver.find_element(By.CSS_SELECTOR, "#strip canvas")
    WebDriverWait(driver, 10).until(lambda _: driver.execute_script(inked, strip))
    assert driver.find_element(By.CSS_SELECTOR, "#nearest img").get_property("naturalWidth") > 10
    assert len(driver.find_elements(By.CSS_SELECTOR, "#run tr")) > 10
    overflow = driver.execute_script("return document.documentElement.scrollWidth - window.innerWidth")
    assert overflow <= 0, f"{overflow} pixels too wide at {width}"
    messages = driver.get_log("browser")
    assert messages == [], messages


def main(folder, pictures=None):
    page = (pathlib.Path(folder).resolve() / "report.html").as_uri()
    for width in (1200, 390):
        for dark in (False, True):
            driver = browser(width, dark)
            try:
                driver.get(page)
                check(driver, width)
                colour = driver.execute_script("return getComputedStyle(document.body).backgroundColor")
                assert (colour == "rgb(255, 255, 255)") != dark, colour
                if pictures:
                    driver.save_screenshot(f"{pictures}/report-{width}-{'dark' if dark else 'light'}.png")
            finally:
                driver.quit()
    print("report ok: wide and narrow, light and dark")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(*sys.argv[1:])
